//! A disk that fills up while the real binary runs: an error with the place, and nothing lost once
//! there is room.

mod fixture;

use std::fs;
use std::path::Path;
use std::process::Command;

use fixture::ROOT;
use tempfile::tempdir;

/// In a mount namespace of its own, so that no rights are needed: a small disk, made larger later.
const SCRIPT: &str = r#"
mount -t tmpfs -o size="$SIZE" tmpfs disk || exit 77
run() {
  "$MILLSTREAM" run pipelines/flight-delays.toml --until-end --listen 127.0.0.1:0 \
    --data-dir disk/data --json
}
run > full.out 2> full.err
echo $? > full.status
mount -o remount,size=256m disk
run > roomy.out 2> roomy.err || exit 1
"$MILLSTREAM" consume delays-by-hour --until-end --data-dir disk/data > topic.out
"#;

fn lines(path: &Path) -> Vec<String> {
    let mut lines: Vec<String> =
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_full_disk_is_an_error_and_nothing_is_lost() {
    // Full at the first file, in the middle of the input, in the middle of the answer.
    let mut answers = Vec::new();
    for size in ["16k", "200k", "1500k", "2600k", "2900k"] {
        let dir = tempdir().unwrap();
        for folder in ["disk", "pipelines", "examples/data"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["pipelines/flight-delays.toml", "examples/data/flights-2013-01.csv"] {
            fs::copy(Path::new(ROOT).join(file), dir.path().join(file)).unwrap();
        }
        let status = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT])
            .env("SIZE", size)
            .env("MILLSTREAM", env!("CARGO_BIN_EXE_millstream"))
            .current_dir(dir.path())
            .status()
            .unwrap();
        if status.code() == Some(77) {
            eprintln!("this machine lets nobody mount a small disk: not tested");
            return;
        }
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(status.code(), Some(0), "{size}: {}", read("roomy.err"));
        assert_eq!(read("full.status").trim(), "1", "{size}: {}", read("full.err"));
        let said = read("full.err");
        assert!(said.contains("No space left on device") && said.contains("disk/"), "{said}");
        let topic = lines(&dir.path().join("topic.out"));
        assert_eq!(lines(&dir.path().join("delays-by-hour.jsonl")), topic, "{size}");
        answers.push(topic);
    }
    assert_eq!(answers[0].len(), 1_642);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}
