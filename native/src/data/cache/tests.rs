use super::*;

const KIND: CnnKind = CnnKind::Resnet18;
const ENTRY: u64 = (HEADER + 2 * 64 * 512) as u64;

fn key(picture: u8) -> Key {
    Key::new(
        "weights",
        &KIND.default_preparation(),
        KIND,
        &[picture; 32],
        View::WHOLE,
    )
}

fn features(seed: u8) -> Vec<f16> {
    (0..key(0).values())
        .map(|i| f16::from_f32((i % 251) as f32 * 0.37 + f32::from(seed)))
        .collect()
}

fn open(folder: &tempfile::TempDir, entries: u64) -> FeatureCache {
    FeatureCache::open(folder.path().join("cache"), entries * ENTRY).unwrap()
}

fn set_age(cache: &FeatureCache, picture: u8, seconds: u64) {
    let file = File::options()
        .write(true)
        .open(cache.path(&key(picture)))
        .unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
        .unwrap();
}

fn present(cache: &FeatureCache, pictures: std::ops::Range<u8>) -> Vec<u8> {
    pictures
        .filter(|&picture| cache.path(&key(picture)).exists())
        .collect()
}

#[test]
fn entries_come_back_also_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder, 10);
    assert_eq!(cache.get(&key(1)), None);
    cache.put(&key(1), &features(1)).unwrap();
    cache.put(&key(2), &features(2)).unwrap();
    assert_eq!(cache.size(), 2 * ENTRY);
    let cache = open(&folder, 10);
    assert_eq!(cache.size(), 2 * ENTRY);
    assert_eq!(cache.get(&key(1)), Some(features(1)));
    assert_eq!(cache.get(&key(2)), Some(features(2)));
    assert_eq!(cache.get(&key(3)), None);
    // The same once more is still one entry.
    cache.put(&key(1), &features(1)).unwrap();
    assert_eq!(cache.size(), 2 * ENTRY);
    let error = cache
        .put(&key(1), &features(1)[1..])
        .unwrap_err()
        .to_string();
    assert!(error.contains("32767 features for 32768"), "{error}");
}

#[test]
fn an_entry_of_the_default_encoder_takes_164_kb() {
    let kind = CnnKind::EfficientnetLite0;
    let key = Key::new("", &kind.default_preparation(), kind, &[0; 32], View::WHOLE);
    assert_eq!(
        encode(&key, &vec![f16::ZERO; key.values()]).len(),
        163_840 + HEADER
    );
}

#[test]
fn keys_depend_on_all_that_matters() {
    let preparation = KIND.default_preparation();
    let mut size = preparation.clone();
    size.size += 32;
    let (mut mean, mut std) = (preparation.clone(), preparation.clone());
    mean.mean[2] += 0.01;
    std.std[0] += 0.01;
    let keys = [
        Key::new("a", &preparation, KIND, &[1; 32], View::WHOLE),
        Key::new("b", &preparation, KIND, &[1; 32], View::WHOLE),
        Key::new("a", &preparation, CnnKind::Resnet34, &[1; 32], View::WHOLE),
        Key::new("a", &preparation, KIND, &[2; 32], View::WHOLE),
        Key::new("a", &preparation, KIND, &[1; 32], View(1)),
        Key::new("a", &preparation, KIND, &[1; 32], View(2)),
        Key::new("a", &size, KIND, &[1; 32], View::WHOLE),
        Key::new("a", &mean, KIND, &[1; 32], View::WHOLE),
        Key::new("a", &std, KIND, &[1; 32], View::WHOLE),
    ];
    let names: std::collections::BTreeSet<_> = keys.iter().map(Key::to_string).collect();
    assert_eq!(names.len(), keys.len());
    assert!(names.iter().all(|name| is_hex(name, 64)));
    assert_eq!(
        keys[0],
        Key::new("a", &preparation, KIND, &[1; 32], View::WHOLE)
    );
}

#[test]
fn broken_and_foreign_files_count_as_absent() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder, 10);
    cache.put(&key(1), &features(1)).unwrap();
    let path = cache.path(&key(1));
    let whole = fs::read(&path).unwrap();
    let mut broken: Vec<Vec<u8>> = (0..20)
        .map(|part| whole[..whole.len() * part / 20].to_vec())
        .collect();
    broken.push([&whole[..], &[0]].concat());
    broken.push(b"something else altogether".to_vec());
    for place in [0, 7, 8, 39, 40, 43, 44, HEADER - 1, HEADER, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[place] ^= 4;
        broken.push(bytes);
    }
    // Whole, but of another picture.
    cache.put(&key(2), &features(2)).unwrap();
    broken.push(fs::read(cache.path(&key(2))).unwrap());
    for (i, bytes) in broken.iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.get(&key(1)), None, "{i}");
    }
    cache.put(&key(1), &features(1)).unwrap();
    assert_eq!(cache.get(&key(1)), Some(features(1)));
}

#[test]
fn the_longest_unused_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder, 10);
    for picture in 0..10 {
        cache.put(&key(picture), &features(picture)).unwrap();
        set_age(&cache, picture, 1000 - u64::from(picture));
    }
    assert_eq!(present(&cache, 0..10), (0..10).collect::<Vec<_>>());
    // Used, so no longer among the oldest.
    assert!(cache.get(&key(0)).is_some());
    assert!(cache.get(&key(2)).is_some());
    // The eleventh makes room down to nine.
    cache.put(&key(10), &features(10)).unwrap();
    assert_eq!(present(&cache, 0..11), [0, 2, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(cache.size(), 9 * ENTRY);
    // A smaller limit is enforced at once.
    let cache = open(&folder, 2);
    assert_eq!(present(&cache, 0..11), [10]);
    assert_eq!(cache.size(), ENTRY);
    let cache = open(&folder, 0);
    cache.put(&key(3), &features(3)).unwrap();
    assert_eq!((present(&cache, 0..11), cache.size()), (vec![], 0));
}

#[test]
fn pictures_beyond_the_limit_do_not_push_each_other_out() {
    let folder = tempfile::tempdir().unwrap();
    // Left by an earlier run.
    let cache = open(&folder, 10);
    for picture in 100..105 {
        cache.put(&key(picture), &features(picture)).unwrap();
    }
    let cache = open(&folder, 10);
    let hits = |pictures: std::ops::Range<u8>| {
        let mut hits = 0;
        for picture in pictures {
            match cache.get(&key(picture)) {
                Some(_) => hits += 1,
                None => cache.put(&key(picture), &features(picture)).unwrap(),
            }
        }
        hits
    };
    // The first epoch takes the room of what is not used any more; the later ones find ten of the twenty.
    assert_eq!(hits(0..20), 0);
    assert!(present(&cache, 100..105).is_empty());
    assert_eq!([hits(0..20), hits(0..20)], [10, 10]);
    assert_eq!(cache.size(), 10 * ENTRY);
}

#[test]
fn foreign_files_stay_and_abandoned_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder, 10);
    cache.put(&key(1), &features(1)).unwrap();
    let inside = cache.path(&key(1)).parent().unwrap().to_owned();
    let old = SystemTime::now() - ABANDONED - Duration::from_secs(60);
    let kept = [
        cache.folder.join("notes.txt"),
        cache.folder.join("ab"),
        inside.join("notes.f16"),
        inside.join(format!("{}.png", "0".repeat(62))),
        inside.join(format!("{PARTIAL}new")),
    ];
    let abandoned = inside.join(format!("{PARTIAL}old"));
    for path in kept.iter().chain([&abandoned]) {
        let file = File::create(path).unwrap();
        if !path.ends_with(format!("{PARTIAL}new")) {
            file.set_modified(old).unwrap();
        }
    }
    assert_eq!(open(&folder, 0).size(), 0);
    assert!(kept.iter().all(|path| path.exists()), "{kept:?}");
    assert!(!abandoned.exists());
    assert!(!cache.path(&key(1)).exists());
}

#[test]
fn several_caches_share_a_folder_and_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let caches: Vec<_> = (0..3).map(|_| open(&folder, 16)).collect();
    std::thread::scope(|scope| {
        for (i, cache) in caches.iter().enumerate() {
            for part in 0..2 {
                scope.spawn(move || {
                    for n in 0..40u8 {
                        // Some of the same, some of its own.
                        let picture = if n % 3 == 0 {
                            n
                        } else {
                            n + 40 * (i as u8 + 1)
                        };
                        match cache.get(&key(picture)) {
                            Some(values) => assert_eq!(values, features(picture), "{i} {part}"),
                            None => cache.put(&key(picture), &features(picture)).unwrap(),
                        }
                    }
                });
            }
        }
    });
    // Each may have added an eighth of the limit, and one more in each thread, since it last looked.
    let left = cache_bytes(&caches[0]);
    assert!(left >= 16 * ENTRY, "{left}");
    assert!(left <= (16 + 3 * 4) * ENTRY, "{left}");
    let cache = open(&folder, 16);
    assert!(cache.size() <= 16 * ENTRY);
    assert!(fs::read_dir(&cache.folder).unwrap().all(|sub| {
        fs::read_dir(sub.unwrap().path()).unwrap().all(|file| {
            file.unwrap()
                .path()
                .extension()
                .is_some_and(|ending| ending == ENDING)
        })
    }));
}

fn cache_bytes(cache: &FeatureCache) -> u64 {
    cache
        .entries()
        .unwrap()
        .iter()
        .map(|entry| entry.length)
        .sum()
}

#[test]
fn pictures_are_hashed_once_until_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder, 1);
    let path = folder.path().join("a.jpg");
    fs::write(&path, b"one").unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let first = cache.picture_hash(&path).unwrap();
    assert_eq!(first, <[u8; 32]>::from(Sha256::digest(b"one")));
    // Same length and time: taken as unread.
    fs::write(&path, b"two").unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_eq!(cache.picture_hash(&path).unwrap(), first);
    let (bytes, hash) = cache.read_picture(&path).unwrap();
    assert_eq!(
        (&bytes[..], hash),
        (&b"two"[..], Sha256::digest(b"two").into())
    );
    assert_eq!(cache.picture_hash(&path).unwrap(), hash);
    fs::write(&path, b"three").unwrap();
    assert_eq!(
        cache.picture_hash(&path).unwrap(),
        <[u8; 32]>::from(Sha256::digest(b"three"))
    );
    fs::remove_file(&path).unwrap();
    let error = format!("{:#}", cache.picture_hash(&path).unwrap_err());
    assert!(
        error.contains("cannot read the picture") && error.contains("a.jpg"),
        "{error}"
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"").unwrap();
    let error = FeatureCache::open(folder.path().join("file"), 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot make the cache folder"), "{error}");
}
