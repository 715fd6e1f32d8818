use super::{Follower, LEFT, LONGEST_LINE, TURN, UNFINISHED, copies::SETTLED};
use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};
use test_case::test_case;

/// A file that somebody writes and a follower of it.
struct Bench {
    _folder: tempfile::TempDir,
    path: PathBuf,
    follower: Follower,
    now: Instant,
    got: Vec<u32>,
    written: u32,
}

impl Bench {
    fn new(before: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/messages");
        fs::create_dir(folder.path().join("log")).unwrap();
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
        Self {
            follower: Follower::new(path.clone()),
            _folder: folder,
            path,
            now: Instant::now(),
            got: Vec::new(),
            written: 0,
        }
    }

    fn file(&self) -> File {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)
            .unwrap()
    }

    fn write(&mut self, file: &mut File, count: u32) {
        for number in self.written..self.written + count {
            writeln!(file, "{}", line(number)).unwrap();
        }
        self.written += count;
    }

    /// Takes until nothing is left.
    fn take(&mut self) -> u64 {
        let mut too_long = 0;
        loop {
            let got = &mut self.got;
            let turn = self.follower.take(self.now, &mut |_, line, text| {
                let start = text.get(21..28);
                assert_eq!(start, Some(&b" NOTICE"[..]), "{}", text.escape_ascii());
                let account = line.event.account.expect("an account");
                got.push(std::str::from_utf8(account).unwrap().parse().unwrap());
            });
            too_long += turn.too_long;
            if !turn.more {
                return too_long;
            }
        }
    }

    fn expect_all(&mut self) {
        self.take();
        let mut got = self.got.clone();
        got.sort_unstable();
        assert_eq!(got, (0..self.written).collect::<Vec<_>>());
    }
}

/// One line a second.
fn line(number: u32) -> String {
    let (hour, minute, second) = (number / 3600, number / 60 % 60, number % 60);
    format!(
        "[2026-11-23 {hour:02}:{minute:02}:{second:02}] NOTICE[7] manager.c: 203.0.113.9 failed to \
         authenticate as '{number}'"
    )
}

/// As an editor saves it, another file or the same one.
fn save(path: &Path, text: &str, is_another: bool) {
    if is_another {
        let copy = path.with_extension("new");
        fs::write(&copy, text).unwrap();
        fs::rename(copy, path).unwrap();
    } else {
        fs::write(path, text).unwrap();
    }
}

#[test_case(|text| without_line(text, 49); "without its last line")]
#[test_case(|text| without_line(text, 0); "without its first line")]
#[test_case(|text| without_line(text, 20); "without a line")]
#[test_case(|text| text.split_inclusive('\n').skip(40).collect(); "its end")]
#[test_case(str::to_owned; "as it was")]
fn a_copy_that_takes_its_place_is_not_told_again(edited: fn(&str) -> String) {
    for is_another in [true, false] {
        let mut bench = Bench::new(None);
        let mut file = bench.file();
        bench.write(&mut file, 50);
        bench.expect_all();
        let text = fs::read_to_string(&bench.path).unwrap();
        save(&bench.path, &edited(&text), is_another);
        bench.expect_all();
        if is_another {
            // Asterisk does not know yet.
            bench.write(&mut file, 5);
            bench.expect_all();
        }
        let mut file = bench.file();
        bench.write(&mut file, 5);
        bench.take();
        bench.now += SETTLED;
        bench.expect_all();
        bench.write(&mut file, 5);
        bench.expect_all();
    }
}

fn without_line(text: &str, number: usize) -> String {
    let lines = text.split_inclusive('\n').enumerate();
    lines
        .filter(|(at, _)| *at != number)
        .map(|(_, line)| line)
        .collect()
}

#[test]
fn a_copy_that_is_written_slowly_is_not_told_again() {
    let mut bench = Bench::new(None);
    let mut file = bench.file();
    bench.write(&mut file, 50);
    bench.expect_all();
    let text = fs::read_to_string(&bench.path).unwrap();
    save(&bench.path, "", true);
    let mut copy = bench.file();
    for part in text.as_bytes().chunks(500) {
        bench.expect_all();
        bench.now += SETTLED / 2;
        copy.write_all(part).unwrap();
    }
    bench.expect_all();
    bench.now += SETTLED;
    bench.write(&mut copy, 5);
    bench.take();
    bench.now += SETTLED;
    bench.expect_all();
}

#[test]
fn a_copy_of_what_was_there_before_the_start_is_not_told() {
    let before: String = (0..50).map(|number| line(number) + "\n").collect();
    let mut bench = Bench::new(Some(&before));
    save(&bench.path, &without_line(&before, 3), true);
    bench.take();
    bench.now += SETTLED;
    bench.take();
    assert!(bench.got.is_empty(), "{:?}", bench.got);
}

#[test]
fn a_new_log_that_repeats_the_last_second_of_the_one_before_is_told() {
    let mut bench = Bench::new(Some(""));
    let mut file = bench.file();
    bench.write(&mut file, 3);
    for _ in 0..2 {
        writeln!(file, "{}", line(3)).unwrap();
    }
    bench.take();
    fs::rename(&bench.path, bench.path.with_extension("1")).unwrap();
    let mut file = bench.file();
    for _ in 0..2 {
        writeln!(file, "{}", line(3)).unwrap();
    }
    bench.take();
    assert_eq!(bench.got, [0, 1, 2, 3, 3, 3, 3]);
}

#[test]
fn a_line_that_is_too_long_costs_no_other_one() {
    let mut bench = Bench::new(None);
    let mut file = bench.file();
    // In the first turn its beginning, in the next one its end.
    while file.metadata().unwrap().len() < (TURN - 2 * LONGEST_LINE) as u64 {
        bench.write(&mut file, 100);
    }
    file.write_all(&vec![b'x'; 4 * LONGEST_LINE]).unwrap();
    writeln!(file).unwrap();
    bench.write(&mut file, 10);
    assert_eq!(bench.take(), 1);
    bench.expect_all();
}

#[test]
fn what_is_there_already_is_not_told_and_what_comes_is() {
    let mut bench = Bench::new(Some(&format!("{}\n", line(99))));
    let mut file = bench.file();
    bench.write(&mut file, 3);
    bench.expect_all();
    bench.write(&mut file, 2);
    bench.expect_all();
}

#[test]
fn the_rest_of_a_line_that_has_begun_before_is_no_line() {
    let mut bench = Bench::new(Some("[x] NOTICE[7] manager.c: 203.0.113.9 failed to auth"));
    let mut file = bench.file();
    file.write_all(b"enticate as '99'\n").unwrap();
    bench.write(&mut file, 2);
    bench.expect_all();
}

#[test]
fn a_file_that_appears_later_is_read_from_its_beginning() {
    let mut bench = Bench::new(None);
    bench.take();
    assert!(!bench.follower.is_open());
    let mut file = bench.file();
    bench.write(&mut file, 2);
    bench.expect_all();
    assert!(bench.follower.is_open());
}

#[test]
fn the_renamed_file_and_the_new_one_are_read_to_their_ends() {
    let mut bench = Bench::new(Some(""));
    let mut old = bench.file();
    bench.write(&mut old, 2);
    bench.take();
    for round in 0..3 {
        bench.write(&mut old, 2);
        let name = bench.path.with_extension(round.to_string());
        fs::rename(&bench.path, name).unwrap();
        // Its writer does not know yet.
        bench.write(&mut old, 2);
        bench.take();
        let mut new = bench.file();
        bench.write(&mut new, 2);
        bench.write(&mut old, 2);
        bench.take();
        bench.write(&mut old, 2);
        bench.expect_all();
        old = new;
    }
    bench.now += LEFT;
    bench.write(&mut old, 1);
    bench.expect_all();
    bench.now += LEFT;
    bench.take();
    assert!(bench.follower.left.is_empty());
}

#[test]
fn a_deleted_file_is_read_until_another_one_is_there() {
    let mut bench = Bench::new(Some(""));
    let mut old = bench.file();
    bench.write(&mut old, 2);
    fs::remove_file(&bench.path).unwrap();
    bench.write(&mut old, 2);
    bench.take();
    fs::remove_dir(bench.path.parent().unwrap()).unwrap();
    bench.write(&mut old, 2);
    bench.take();
    fs::create_dir(bench.path.parent().unwrap()).unwrap();
    let mut new = bench.file();
    bench.write(&mut new, 2);
    bench.write(&mut old, 2);
    bench.take();
    bench.expect_all();
}

#[test]
fn a_file_that_is_cut_short_is_read_from_its_beginning() {
    let mut bench = Bench::new(Some(""));
    let mut file = bench.file();
    for _ in 0..3 {
        bench.write(&mut file, 5);
        bench.take();
        file.set_len(0).unwrap();
        bench.write(&mut file, 2);
        bench.expect_all();
    }
}

#[test]
fn a_file_that_was_cut_short_and_has_outgrown_itself_is_read_from_its_beginning() {
    let mut bench = Bench::new(Some(""));
    let mut file = bench.file();
    bench.write(&mut file, 2);
    bench.take();
    file.set_len(0).unwrap();
    bench.write(&mut file, 20);
    bench.expect_all();
}

#[test]
fn a_line_counts_when_it_is_whole() {
    let mut bench = Bench::new(Some(""));
    let mut file = bench.file();
    let text = format!("{}\n", line(0));
    for byte in text.as_bytes() {
        assert!(bench.got.is_empty());
        file.write_all(&[*byte]).unwrap();
        bench.take();
    }
    assert_eq!(bench.got, [0]);
}

#[test]
fn a_line_that_nobody_ends_counts_after_a_minute_once() {
    let mut bench = Bench::new(Some(""));
    let mut file = bench.file();
    write!(file, "{}", line(0)).unwrap();
    bench.take();
    assert!(bench.got.is_empty());
    bench.now += UNFINISHED;
    bench.take();
    assert_eq!(bench.got, [0]);
    bench.written = 1;
    file.write_all(b" and more\n").unwrap();
    bench.write(&mut file, 1);
    bench.expect_all();
}

#[test_case(LONGEST_LINE + 1; "a little too long")]
#[test_case(3 * TURN; "far too long")]
fn a_line_without_end_is_skipped_and_counted(length: usize) {
    let mut bench = Bench::new(Some(""));
    let mut file = bench.file();
    file.write_all(&vec![b'x'; length]).unwrap();
    assert_eq!(bench.take(), 1);
    assert!(bench.follower.current.as_ref().unwrap().waiting.is_empty());
    file.write_all(b"x\n").unwrap();
    bench.write(&mut file, 2);
    bench.expect_all();
}

#[test]
fn much_at_once_is_read_in_turns_and_nothing_is_lost() {
    let mut bench = Bench::new(Some(""));
    let mut file = bench.file();
    let mut text = String::new();
    while text.len() < 3 * TURN {
        text.push_str(&line(bench.written));
        text.push('\n');
        bench.written += 1;
        // Nothing for sipward, and no text either.
        text.push_str("[x] VERBOSE[8] pbx.c: \0\x07\n");
    }
    file.write_all(text.as_bytes()).unwrap();
    let first = bench.follower.take(bench.now, &mut |_, _, _| {});
    assert!(first.more);
    let mut again = Bench::new(Some(""));
    again.written = bench.written;
    again.file().write_all(text.as_bytes()).unwrap();
    again.expect_all();
}

#[test]
fn what_is_no_file_is_an_error_and_followed_once_it_is_one() {
    let mut bench = Bench::new(None);
    fs::create_dir(&bench.path).unwrap();
    bench.take();
    let trouble = bench.follower.trouble.clone().unwrap();
    assert!(
        trouble.contains("messages: this is no regular file"),
        "{trouble}"
    );
    fs::remove_dir(&bench.path).unwrap();
    nix::unistd::mkfifo(&bench.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    bench.take();
    assert_eq!(bench.follower.trouble.as_ref(), Some(&trouble));
    fs::remove_file(&bench.path).unwrap();
    let mut file = bench.file();
    bench.write(&mut file, 1);
    bench.expect_all();
    assert_eq!(bench.follower.trouble, None);
}
