//! APIBAN: pages, and no more of them than it allows, however often sipward is started.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Run,
    server::{has_it, ok, path, serve},
    update,
};

const TOO_OFTEN: &str = "asked for 11 times within 2 minutes, and APIBAN allows no more";

/// A list of so many pages, and how often it was asked.
struct Apiban {
    from: String,
    asked: Arc<AtomicUsize>,
}

impl Apiban {
    fn serve(pages: usize) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let port = serve(
            None,
            Box::new(move |head, out| {
                assert!(!has_it(head), "nobody has banned what came before");
                counted.fetch_add(1, Relaxed);
                let page: usize = match path(head).strip_prefix("/api/key/banned") {
                    Some("") => 0,
                    Some(id) => id.trim_start_matches('/').parse::<usize>().unwrap() - 100,
                    None => panic!("{head}"),
                };
                let next = match page + 1 {
                    next if next < pages => (100 + next).to_string(),
                    _ => "none".to_owned(),
                };
                let body = format!("{{\"ipaddress\":[\"192.0.2.{page}\"],\"ID\":\"{next}\"}}");
                ok(out, body.as_bytes())
            }),
        );
        Self {
            from: format!("http://127.0.0.1:{port}/api/key/banned"),
            asked,
        }
    }

    /// An update, and how many requests it made.
    fn update(&self, state: &Path) -> (Run, usize) {
        let before = self.asked.load(Relaxed);
        let run = update(state, &self.from, &[]);
        (run, self.asked.load(Relaxed) - before)
    }
}

/// How many addresses a file of the list has; none where there is no such file.
fn addresses(state: &Path, ending: &str) -> Option<usize> {
    let text = fs::read_to_string(state.join("feeds/web").with_extension(ending)).ok()?;
    Some(text.lines().count())
}

/// Two minutes pass, as far as the book of requests is concerned.
fn pass_two_minutes(state: &Path) {
    let book = state.join("feeds/requests.book");
    let mut requests: Value = serde_json::from_slice(&fs::read(&book).unwrap()).unwrap();
    for at in requests
        .as_object_mut()
        .unwrap()
        .values_mut()
        .flat_map(|times| {
            let times = times.as_array_mut().unwrap();
            times.iter_mut()
        })
    {
        *at = (at.as_u64().unwrap() - 120_000_000_000).into();
    }
    fs::write(&book, requests.to_string()).unwrap();
}

#[test]
fn the_pages_are_followed_as_fast_as_it_allows_and_no_faster() {
    let (state, apiban) = (TempDir::new().unwrap(), Apiban::serve(30));
    // Requests, and addresses of the list that is in force and of the one that comes.
    for (requests, whole, part) in [
        (11, None, Some(11)),
        (11, None, Some(22)),
        (8, Some(30), Some(22)),
        (11, Some(30), Some(11)),
        (11, Some(30), Some(22)),
        (8, Some(30), Some(22)),
    ] {
        let (run, made) = apiban.update(state.path());
        // Addresses are the daemon's to ban, and there is none.
        assert_eq!((run.code, made), (3, requests), "{}", run.err);
        assert_eq!(addresses(state.path(), "netset"), whole);
        assert_eq!(addresses(state.path(), "part"), part);
        if requests == 11 {
            let (run, made) = apiban.update(state.path());
            assert_eq!((run.code, made), (2, 0), "{}", run.err);
            assert!(run.err.contains(TOO_OFTEN), "{}", run.err);
        }
        pass_two_minutes(state.path());
    }
}

#[test]
fn a_list_that_earlier_requests_cut_short_is_not_taken() {
    let (state, apiban) = (TempDir::new().unwrap(), Apiban::serve(7));
    let (run, requests) = apiban.update(state.path());
    assert_eq!((run.code, requests), (3, 7), "{}", run.err);
    assert_eq!(addresses(state.path(), "netset"), Some(7));

    let (run, requests) = apiban.update(state.path());
    assert_eq!((run.code, requests), (2, 4), "{}", run.err);
    assert!(run.err.contains(TOO_OFTEN), "{}", run.err);
    assert_eq!(addresses(state.path(), "netset"), Some(7));
}
