//! `key=value` overrides of a configuration file.

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

/// Reads a configuration with `key=value` overrides, such as `train.rates.text=5e-5` or `data.train.0.limit=100`.
///
/// # Errors
///
/// When the text is not such a configuration, or an override's key leads nowhere.
pub(crate) fn overridden<T: DeserializeOwned>(
    text: &str,
    overrides: &[String],
) -> anyhow::Result<T> {
    let mut table: toml::Value = toml::from_str(text)?;
    for item in overrides {
        let (key, value) = item
            .split_once('=')
            .with_context(|| format!("the override {item:?} is not key=value"))?;
        set(&mut table, key.trim(), parse_value(value.trim()))
            .with_context(|| format!("the override {item:?}"))?;
    }
    Ok(table.try_into()?)
}

/// A value as TOML has it (`3`, `1e-4`, `true`, `[1, 2]`, `"x"`), or else a plain string.
fn parse_value(text: &str) -> toml::Value {
    match toml::from_str::<toml::Table>(&format!("v = {text}")) {
        Ok(mut table) => table.remove("v").expect("the one key"),
        Err(_) => toml::Value::String(text.to_owned()),
    }
}

/// Sets `a.b.0.c`, walking tables by name and arrays by number. The last name may be new; serde refuses what it does not know.
fn set(root: &mut toml::Value, key: &str, value: toml::Value) -> anyhow::Result<()> {
    let mut at = root;
    let mut names = key.split('.').peekable();
    while let Some(name) = names.next() {
        at = match at {
            toml::Value::Table(table) => {
                if names.peek().is_none() {
                    table.insert(name.to_owned(), value);
                    return Ok(());
                }
                let next = table
                    .entry(name)
                    .or_insert_with(|| toml::Value::Table(toml::Table::new()));
                // A setting that is a word or a table, such as `tune`, may change from one to the other.
                if !next.is_table() && !next.is_array() {
                    *next = toml::Value::Table(toml::Table::new());
                }
                next
            }
            toml::Value::Array(items) => {
                let length = items.len();
                let index: usize = name
                    .parse()
                    .with_context(|| format!("{name:?} must be the number of an entry"))?;
                let item = items
                    .get_mut(index)
                    .with_context(|| format!("there is no entry {index}, only {length}"))?;
                if names.peek().is_none() {
                    *item = value;
                    return Ok(());
                }
                item
            }
            _ => bail!("{name:?} is looked for in a list's entry that is not a table"),
        };
    }
    bail!("the key is empty")
}
