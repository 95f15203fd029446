use std::collections::BTreeSet;

use super::*;

const SMALL: &str = include_str!("../../../../configs/muse-small.toml");

fn parse(overrides: &[&str]) -> anyhow::Result<TrainConfig> {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    TrainConfig::parse(SMALL, &overrides, PathBuf::new())
}

#[test]
fn overrides_reach_every_depth() {
    let config = parse(&[
        "seed=7",
        "train.rates.text=5e-5",
        "model.image.tune.last=2",
        "data.train.0.limit=10",
        "cache.folder=elsewhere",
    ])
    .unwrap();
    assert_eq!(config.seed, 7);
    assert_eq!(config.train.rates.text, 5e-5);
    assert_eq!(config.model.image.tune, Tune::Last(2));
    assert_eq!(config.data.train[0].limit, Some(10));
    assert_eq!(config.cache.folder, PathBuf::from("elsewhere"));
}

#[test]
fn the_exchanges_rule_is_read_under_its_old_name_too() {
    for replace in ["replace_only=true", "rule=replace"] {
        let config = parse(&[&format!("model.exchange.{replace}")]).unwrap();
        let rule = config.model.exchange.unwrap().rule;
        assert_eq!(rule, muse_core::exchange::ExchangeRule::Replace);
    }
    let error = format!("{:#}", parse(&["model.exchange.rule=swap"]).unwrap_err());
    assert!(error.contains("`add` or `replace`"), "{error}");
}

/// Runs are resumed, and a sweep's runs found again, by it.
#[test]
fn the_exchange_s_echo_stays_what_it_was() {
    for (overrides, replace_only) in [
        (&[][..], "false"),
        (&["model.exchange.rule=replace"], "true"),
    ] {
        let echo = toml::to_string(&parse(overrides).unwrap()).unwrap();
        let section = echo.split_once("[model.exchange]\n").unwrap().1;
        let section = section.split_once("\n\n").unwrap().0;
        assert_eq!(
            section,
            format!(
                "layers = 2\nheads = 12\nfeed_forward = 768\ndropout = 0.1\ntheta = 0.1\nfirst_layer = 0\n\
                 last_layer = 1\nreplace_only = {replace_only}"
            )
        );
    }
}

#[test]
fn wrong_settings_are_named() {
    for (wrong, named) in [
        ("train.epochs=0", "epochs"),
        ("train.warmup=1.5", "warmup"),
        ("train.rates.text=-1", "rates.text"),
        ("train.speed=3", "speed"),
        ("model.image.dropout=1", "model.image.dropout is 1, must be"),
        (
            "model.fusion_dropout=-1",
            "model.fusion_dropout is -1, must be",
        ),
        (
            "model.exchange.theta=2",
            "model.exchange.theta is 2, must be 0 to 1",
        ),
        ("data.train.99.limit=1", "99"),
        ("nonsense", "key=value"),
        ("seed=minus", "minus"),
        ("data.valid.0.name=all", "all"),
    ] {
        let error = format!("{:#}", parse(&[wrong]).unwrap_err());
        assert!(error.contains(named), "{wrong}: {error}");
    }
}

#[test]
fn a_model_s_settings_are_named_as_the_file_has_them() {
    let sizes = |vocabulary: usize| {
        format!(
            "model.text={{sizes = {{vocab_size = {vocabulary}, hidden_size = 384, num_hidden_layers = 1, \
             num_attention_heads = 12, intermediate_size = 4, max_position_embeddings = 64, type_vocab_size = 2}}}}"
        )
    };
    for (text, wrong, named) in [
        (sizes(9), "model.image.size=31", "model.image.size: is 31"),
        (sizes(0), "seed=1", "model.text.sizes.vocab_size: is 0"),
        (
            sizes(9),
            "model.exchange.heads=5",
            "model.exchange.heads: is 5",
        ),
    ] {
        let config = parse(&[&text, wrong]).unwrap();
        let names = Names {
            tags: vec!["O".to_owned(), "B-PER".to_owned()],
            ..Names::default()
        };
        let error = config.model_config(names, None).unwrap_err();
        let error = error.to_string();
        assert_eq!(
            error.split(", must").next(),
            Some(&*format!("model configuration: {named}"))
        );
    }
    let error = ConfigError {
        setting: "text.vocab_size".to_owned(),
        problem: "is 0".to_owned(),
    };
    let error = parse(&[]).unwrap().placed(error).setting;
    assert!(
        error.starts_with("vocab_size of ") && error.ends_with("config.json"),
        "{error}"
    );
}

#[test]
fn the_shipped_configurations_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let entries = |folder: &Path| std::fs::read_dir(folder).unwrap();
    let (mut read, mut captioner) = (0, None);
    for entry in entries(&folder).chain(entries(&folder.join("shipped"))) {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // What has tests of its own: sweeps, and `muse pretrain`.
        let other = ["ablation", "captioner", "curves", "decoders", "pretrain"];
        if !path.is_file() || other.contains(&name.as_str()) {
            continue;
        }
        let config = TrainConfig::load(&path, &[]).unwrap_or_else(|e| panic!("{e:#}"));
        read += 1;
        if name == "muse-captioner" {
            captioner = Some(config);
        }
    }
    assert!(read >= 9, "{read}");
    let captioner = captioner.expect("muse-captioner.toml");
    let train = captioner.train;
    assert_eq!((train.weights.generation, train.photo_views), (0.0, 4));
    assert_eq!(captioner.model.image.dropout, 0.5);
}

/// What a section may have, as serde names it when it meets something else.
fn settings(section: &str) -> Vec<String> {
    let nonsense = match section {
        "" => "nonsense=1".to_owned(),
        _ => format!("{section}.nonsense=1"),
    };
    let error = format!("{:#}", parse(&[&nonsense]).unwrap_err());
    let expected = error.split_once("expected ").expect("what is expected").1;
    let expected = expected.lines().next().unwrap_or_default();
    let names = expected.split('`').skip(1).step_by(2);
    names
        .map(|name| {
            format!("{section}.{name}")
                .trim_start_matches('.')
                .to_owned()
        })
        .collect()
}

/// The settings of each row of docs/training.md's table, and the cell of their defaults; `.x` is beside the one before it.
fn rows() -> Vec<(Vec<String>, &'static str)> {
    let text = include_str!("../../../../docs/training.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').collect();
        let (mut names, mut parent) = (Vec::new(), String::new());
        for name in cells[1].split('`').skip(1).step_by(2) {
            let name = match name.strip_prefix('.') {
                Some(beside) => format!("{parent}{beside}"),
                None => name.to_owned(),
            };
            parent = name
                .rsplit_once('.')
                .map_or(String::new(), |(p, _)| format!("{p}."));
            names.push(name);
        }
        (names, cells[2].trim())
    })
    .collect()
}

#[test]
fn documented_defaults_are_the_codes() {
    let text = include_str!("../../../../configs/quickstart.toml");
    let written: toml::Value = toml::from_str(text).unwrap();
    let config = TrainConfig::parse(text, &[], PathBuf::new()).unwrap();
    let echo: toml::Value = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    let at = |value: &toml::Value, name: &str| {
        name.split('.')
            .try_fold(value.clone(), |v, key| v.get(key).cloned())
    };
    // 1 is 1.0.
    let plain = |value: &toml::Value| match value {
        toml::Value::Integer(number) => (*number as f64).to_string(),
        toml::Value::Float(number) => number.to_string(),
        other => other.to_string(),
    };
    let mut compared = 0;
    for (names, cell) in rows() {
        for (name, default) in names.iter().zip(cell.split(", ")) {
            let default = format!("x = {}", default.trim_matches('`'));
            let default = toml::from_str::<toml::Table>(&default);
            let (Ok(default), None) = (default, at(&written, name)) else {
                continue; // in words, or another than the default
            };
            if let Some(used) = at(&echo, name) {
                assert_eq!(plain(&used), plain(&default["x"]), "{name}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 15, "{compared}");
}

#[test]
fn every_setting_is_documented() {
    let documented: BTreeSet<String> = rows().into_iter().flat_map(|(names, _)| names).collect();
    let sections = [
        "",
        "model",
        "model.text",
        "model.image",
        "model.exchange",
        "model.decoders",
        "train",
        "train.rates",
        "train.weights",
        "cache",
    ];
    let mut known = BTreeSet::new();
    for section in sections {
        for name in settings(section) {
            let parts = ["model", "train", "data"].contains(&name.as_str())
                || sections.contains(&name.as_str());
            let described = documented.iter().any(|entry| {
                *entry == name
                    || entry.starts_with(&format!("{name}."))
                    || entry.starts_with(&format!("[[{name}."))
            });
            assert!(described, "{name} is not in docs/training.md");
            if !parts {
                known.insert(name);
            }
        }
    }
    // And nothing that is gone.
    for entry in documented.iter().filter(|entry| {
        sections
            .iter()
            .any(|s| !s.is_empty() && entry.rsplit_once('.').is_some_and(|(p, _)| p == *s))
    }) {
        assert!(known.contains(entry), "{entry} is no setting");
    }
}

#[test]
fn the_echo_reads_back_the_same() {
    let config = parse(&["data.valid.0.limit=3"]).unwrap();
    let echo = toml::to_string(&config).unwrap();
    let again = TrainConfig::parse(&echo, &[], PathBuf::new()).unwrap();
    assert_eq!(toml::to_string(&again).unwrap(), echo);
}
