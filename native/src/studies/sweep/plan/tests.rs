use std::path::Path;

use super::*;

fn plan(text: &str, common: &[&str]) -> anyhow::Result<Plan> {
    let mut file = SweepFile::parse(&format!(
        "base = \"muse-small.toml\"\nseeds = [1, 2]\n{text}"
    ))?;
    file.base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/muse-small.toml");
    let common: Vec<String> = common.iter().map(|&pair| pair.to_owned()).collect();
    Plan::new(&file, &common)
}

const SWEEP: &str = "
set.train.epochs = 2
[[row]]
name = \"full\"
[[row]]
name = \"no exchange\"
set.model.exchange.theta = 0
[[curve]]
name = \"θ\"
set = \"model.exchange.theta\"
values = [0, 0.1, 0.3]
";

#[test]
fn equal_configurations_are_one_run() {
    let plan = plan(SWEEP, &[]).unwrap();
    // The rows are θ = 0.1 (the base's own) and θ = 0: of five settings three are distinct.
    assert_eq!(plan.runs.len(), 3 * 2);
    let [table, curve] = &plan.parts[..] else {
        panic!("{:?}", plan.parts);
    };
    assert_eq!(table.settings[0].runs, curve.settings[1].runs);
    assert_eq!(table.settings[1].runs, curve.settings[0].runs);
    // Seed by seed.
    assert_eq!(table.settings[0].runs, [0, 3]);
    assert_eq!(curve.settings[2].runs, [2, 5]);
    assert_eq!(plan.runs[5].title, "θ 0.3, seed 2");
    assert!(plan.runs[1].folder.starts_with("no-exchange-seed-1-"));
    let ids: BTreeSet<_> = plan.runs.iter().map(|run| &run.id).collect();
    assert_eq!(ids.len(), 6);
    let config: TrainConfig = toml::from_str(&plan.runs[5].echo).unwrap();
    assert_eq!((config.seed, config.train.epochs), (2, 2));
    assert_eq!(config.model.exchange.as_ref().map(|e| e.theta), Some(0.3));
}

#[test]
fn rows_win_over_the_command_line_and_that_over_the_file() {
    let plan = plan(SWEEP, &["train.epochs=5", "model.exchange.theta=0.2"]).unwrap();
    let theta = |run: usize| {
        let config: TrainConfig = toml::from_str(&plan.runs[run].echo).unwrap();
        assert_eq!(config.train.epochs, 5);
        config.model.exchange.as_ref().map(|e| e.theta)
    };
    let row = |at: usize| plan.parts[0].settings[at].runs[0];
    assert_eq!(theta(row(0)), Some(0.2));
    assert_eq!(theta(row(1)), Some(0.0));
}

#[test]
fn keys_move_together_and_rates_are_scaled() {
    let text = "
[[curve]]
name = \"layers\"
set = [\"model.exchange.first_layer\", \"model.exchange.last_layer\"]
values = [[0, 0], [0, 1]]
[[curve]]
name = \"rate\"
scale = \"train.rates\"
values = [0.5, 3]
with.train.rates.text = 0.1
[[curve]]
name = \"batch\"
scale = [\"train.batch_size\"]
values = [2]
";
    let plan = plan(text, &[]).unwrap();
    let of = |part: usize, setting: usize| &plan.parts[part].settings[setting];
    assert_eq!(of(0, 1).name, "0, 1");
    assert_eq!(
        of(0, 1).overrides,
        [
            "model.exchange.first_layer=0",
            "model.exchange.last_layer=1"
        ]
    );
    assert_eq!(of(1, 0).name, "×0.5");
    let base = TrainConfig::load(&plan.base, &[]).unwrap();
    let rates = |setting: &Setting| {
        let config: TrainConfig = toml::from_str(&plan.runs[setting.runs[0]].echo).unwrap();
        config.train.rates
    };
    assert_eq!(rates(of(1, 0)).text, 0.05);
    assert_eq!(rates(of(1, 1)).text, 0.3);
    assert!((rates(of(1, 1)).crf / base.train.rates.crf - 3.0).abs() < 1e-9);
    assert_eq!(
        of(2, 0).overrides,
        [format!("train.batch_size={}", 2 * base.train.batch_size)]
    );
}

#[test]
fn faults_name_the_setting() {
    let curve = |line: &str| format!("[[curve]]\nname = \"c\"\n{line}");
    for (text, named) in [
        (
            "[[row]]\nname = \"odd\"\nset.train.speed = 1".to_owned(),
            ["\"odd\"", "speed"],
        ),
        (
            "[[row]]\nname = \"odd\"\nset.train.epochs = 0".to_owned(),
            ["\"odd\"", "train.epochs"],
        ),
        (
            curve("set = \"model.exchange.tetha\"\nvalues = [1]"),
            ["\"c 1\"", "tetha"],
        ),
        (
            curve("scale = \"train.speed\"\nvalues = [1]"),
            ["\"c\"", "train.speed"],
        ),
        (
            curve("scale = \"model.image.encoder\"\nvalues = [1]"),
            ["\"c\"", "not a number"],
        ),
    ] {
        let error = format!("{:#}", plan(&text, &[]).unwrap_err());
        for name in named {
            assert!(error.contains(name), "{text}: {error}");
        }
    }
}

#[test]
fn runs_are_chosen_by_row_or_curve() {
    let plan = plan(SWEEP, &[]).unwrap();
    let chosen = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        plan.chosen(&names)
    };
    assert_eq!(chosen(&[]).unwrap().len(), 6);
    assert_eq!(chosen(&["full"]).unwrap(), BTreeSet::from([0, 3]));
    assert_eq!(chosen(&["table"]).unwrap(), BTreeSet::from([0, 1, 3, 4]));
    assert_eq!(chosen(&["full", "θ"]).unwrap().len(), 6);
    // A point is no row.
    let error = chosen(&["0.3"]).unwrap_err().to_string();
    assert!(error.contains("\"no exchange\", \"θ\""), "{error}");
}

#[test]
fn a_slug_is_safe_as_a_file_name() {
    assert_eq!(slug("Without captioning"), "without-captioning");
    assert_eq!(slug("../θ: 0.1 ×2"), "0.1-2");
    assert_eq!(slug(&"x ".repeat(99)).len(), 39);
    assert_eq!(slug("θ"), "");
}

#[test]
fn the_shipped_sweeps_are_what_the_trainer_takes() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let load = |name: &str| {
        let file = SweepFile::load(&configs.join(name)).unwrap();
        Plan::new(&file, &[]).unwrap()
    };
    let ablation = load("ablation.toml");
    let names: Vec<&str> = ablation.parts[0]
        .settings
        .iter()
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "MuSE",
            "without captioning",
            "without generation",
            "without both",
            "without exchange",
            "replace without residual",
            "text only",
            "image only"
        ]
    );
    assert_eq!(ablation.runs.len(), 8 * 3, "no two rows are the same");
    let curves = load("curves.toml");
    assert_eq!(curves.parts.len(), 5);
    assert!(curves.parts.iter().all(|curve| curve.settings.len() >= 5));
    // θ = 0.1, α = 0, β = 0 and rates × 1 are one and the same.
    assert_eq!(curves.runs.len(), (6 + 6 + 5 + 5 + 5 - 3) * 3);
    assert_eq!(load("decoders.toml").runs.len(), 4);
    assert_eq!(load("captioner.toml").runs.len(), 3);
}
