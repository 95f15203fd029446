//! What leaves the program: captions with their entities marked, lines of JSON, files.
//!
//! A caption is whatever a stranger typed. Nothing of it that could steer a terminal is ever printed as it is.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use muse_core::objective::Part;
use muse_core::{Class, Entity, Tagged};
use serde_json::{Map, Value, json};

/// `text` for people: control characters become visible or blank ones, one for one, so that character spans still fit.
///
/// Line ends and tabs become spaces; other C0 controls their control pictures (an escape is `␛`); C1 controls and the
/// marks that reorder text (which could disguise a line) become U+FFFD.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
            '\u{7f}' => '\u{2421}',
            c if is_unsafe(c) => '\u{fffd}',
            c => c,
        })
        .collect::<String>()
        .into()
}

/// Control characters, line separators, and the marks of the bidirectional algorithm that override an order.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Tells people something on standard error, cleaned as captions are. When nobody is there to be told, so be it.
pub fn tell(message: impl Display) {
    told(message);
}

/// As [`tell`]; gives whether there was somebody to be told.
pub fn told(message: impl Display) -> bool {
    let text = message.to_string();
    let lines: Vec<_> = text.lines().map(plain).collect();
    writeln!(io::stderr(), "{}", lines.join("\n")).is_ok()
}

/// JSON on one line, in which DEL, the C1 controls and the reordering marks are escaped as well: they can only stand
/// inside strings, where `\u` means the same.
pub fn json_line(value: &Value) -> String {
    let line = value.to_string();
    if !line.chars().any(is_unsafe) {
        return line;
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if is_unsafe(c) {
            escaped.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// The style of an entity type. The four usual types keep their colours in every model.
fn style(kind: &str) -> Style {
    const OTHERS: [AnsiColor; 2] = [AnsiColor::Cyan, AnsiColor::Red];
    let color = match kind {
        "PER" => AnsiColor::Magenta,
        "LOC" => AnsiColor::Green,
        "ORG" => AnsiColor::Blue,
        "MISC" => AnsiColor::Yellow,
        _ => OTHERS[kind.bytes().map(usize::from).sum::<usize>() % OTHERS.len()],
    };
    Style::new().bold().fg_color(Some(color.into()))
}

/// The part of a caption between two positions, in Unicode scalars.
pub fn slice(caption: &str, start: usize, end: usize) -> String {
    caption
        .chars()
        .skip(start)
        .take(end.saturating_sub(start))
        .collect()
}

/// The caption with its entities marked: `[Eileen Collins](PER)`, or coloured with the type behind.
pub fn marked(caption: &str, entities: &[Entity], color: bool) -> String {
    let mut out = String::new();
    let mut at = 0;
    for entity in entities {
        out.push_str(&plain(&slice(caption, at, entity.start)));
        let text = slice(caption, entity.start, entity.end);
        let (text, kind) = (plain(&text), plain(&entity.kind));
        if color {
            let style = style(&entity.kind);
            let kind_style = style.invert();
            out.push_str(&format!(
                "{style}{text}{style:#} {kind_style} {kind} {kind_style:#}"
            ));
        } else {
            out.push_str(&format!("[{text}]({kind})"));
        }
        at = entity.end;
    }
    out.push_str(&plain(&slice(caption, at, usize::MAX)));
    out
}

/// Writes an answer for people: the marked caption, one line for each entity (type, text, span in characters,
/// confidence), the classes.
///
/// # Errors
///
/// Those of `out`.
pub fn write_answer(
    out: &mut impl Write,
    caption: &str,
    tagged: &Tagged,
    has_entities: bool,
    color: bool,
) -> io::Result<()> {
    writeln!(out, "{}", marked(caption, &tagged.entities, color))?;
    if has_entities {
        writeln!(out)?;
        write_entities(out, &tagged.entities, color)?;
    }
    for (head, class) in tagged.classes() {
        writeln!(out)?;
        write_class(out, head, class)?;
    }
    Ok(())
}

fn write_entities(out: &mut impl Write, entities: &[Entity], color: bool) -> io::Result<()> {
    if entities.is_empty() {
        return writeln!(out, "no entities");
    }
    let rows: Vec<_> = entities
        .iter()
        .map(|entity| {
            let kind = plain(&entity.kind).into_owned();
            let text = plain(&entity.text).into_owned();
            (kind, text, format!("{}..{}", entity.start, entity.end))
        })
        .collect();
    let width = |column: fn(&(String, String, String)) -> &String| {
        rows.iter()
            .map(|row| column(row).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (kinds, texts, spans) = (width(|r| &r.0), width(|r| &r.1), width(|r| &r.2));
    for (entity, (kind, text, span)) in entities.iter().zip(&rows) {
        let style = if color {
            style(&entity.kind)
        } else {
            Style::new()
        };
        writeln!(
            out,
            "{style}{kind:kinds$}{style:#}  {text:texts$}  {span:>spans$}  {:.3}",
            entity.score
        )?;
    }
    Ok(())
}

fn write_class(out: &mut impl Write, head: Part, class: &Class) -> io::Result<()> {
    let others: Vec<String> = class
        .probabilities
        .iter()
        .filter(|(label, _)| *label != class.label)
        .map(|(label, score)| format!("{} {score:.3}", plain(label)))
        .collect();
    let (head, label) = (head.name(), plain(&class.label));
    write!(out, "{head}: {label} {:.3}", class.score)?;
    match others.is_empty() {
        true => writeln!(out),
        false => writeln!(out, " ({})", others.join(", ")),
    }
}

/// Puts the model's answer into `object`: `entities` (when `has_entities`) and the classes, in the place of whatever
/// labels it held, so that a line never mixes given and predicted ones.
pub fn put_answer(object: &mut Map<String, Value>, tagged: &Tagged, has_entities: bool) {
    for label in Part::HEADS.map(Part::name).into_iter().chain(["tags"]) {
        object.shift_remove(label);
    }
    if has_entities {
        object.insert("entities".into(), json!(tagged.entities));
    }
    for (head, class) in tagged.classes() {
        object.insert(head.name().into(), json!(class));
    }
}

/// Writes a file beside its place, then renames it there: nobody ever sees half of it.
///
/// # Errors
///
/// When the folder cannot be written to; the message names the file.
pub fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let mut file = beside(path)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Checks before long work that [`write_file`] will be able to write its result.
///
/// # Errors
///
/// As those of [`write_file`].
pub fn check_place(path: &Path) -> anyhow::Result<()> {
    beside(path)
        .map(drop)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".muse-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Less the umask, as for any new file; tempfile's own default is 0600.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(kind: &str, text: &str, start: usize) -> Entity {
        Entity {
            kind: kind.into(),
            text: text.into(),
            start,
            end: start + text.chars().count(),
            first_word: 0,
            last_word: 0,
            score: 0.5,
        }
    }

    #[test]
    fn control_characters_never_pass() {
        let hostile = "a\u{1b}[31mb\u{9b}2J\u{7f}\u{202e}c\nd";
        let shown = plain(hostile);
        assert_eq!(shown, "a␛[31mb\u{fffd}2J␡\u{fffd}c d");
        assert_eq!(shown.chars().count(), hostile.chars().count());
        let line = json_line(&json!({ "text": hostile }));
        assert!(!line.chars().any(is_unsafe), "{line}");
        let back: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(back["text"], hostile);
    }

    #[test]
    fn marks_count_scalars_not_bytes() {
        let caption = "é😀 Zoë in Köln!";
        let entities = [entity("PER", "Zoë", 3), entity("LOC", "Köln", 10)];
        assert_eq!(
            marked(caption, &entities, false),
            "é😀 [Zoë](PER) in [Köln](LOC)!"
        );
        let colored = marked(caption, &entities, true);
        assert_eq!(
            anstream::adapter::strip_str(&colored).to_string(),
            "é😀 Zoë  PER  in Köln  LOC !"
        );
    }

    #[test]
    fn an_answer_replaces_given_labels() {
        let mut object = json!({"id": 7, "tags": ["O"], "text": "x", "sentiment": "neutral"});
        let object = object.as_object_mut().expect("object");
        let tagged = Tagged {
            entities: vec![entity("PER", "x", 0)],
            ..Tagged::default()
        };
        put_answer(object, &tagged, true);
        let keys: Vec<_> = object.keys().collect();
        assert_eq!(keys, ["id", "text", "entities"]);
        assert_eq!(object["entities"][0]["type"], "PER");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model");
        write_file(&path, b"one").expect("write");
        write_file(&path, b"two").expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 1);
        assert!(write_file(&folder.path().join("no/model"), b"x").is_err());
    }
}
