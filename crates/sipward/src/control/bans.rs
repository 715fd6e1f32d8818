//! `/v1/bans`: a JSON array that may have a million elements, written while it is read.

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use hyper::{body::Bytes, header::CONTENT_TYPE};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    api::{BanView, BansQuery},
    server::{Loop, Parts, Task, refuse},
};
use crate::{
    daemon::{BanList, ListedBan},
    exit::Failure,
};

/// Parts that wait for a client at most, each of 2,000 bans, which are 700 kB.
const MOST_PARTS: usize = 4;

/// Answers as soon as it is known what each ban has dropped; all that may fail is done then.
pub async fn list(State(owner): State<Loop>, Query(query): Query<BansQuery>) -> Response {
    if query.history {
        return owner.ask(|guard| guard.past_bans()).await;
    }
    let list = match begin(&owner).await {
        Ok(list) => list,
        Err(failure) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, failure),
    };
    let (sender, parts) = mpsc::channel(MOST_PARTS);
    spawn_blocking(move || {
        // Where the client or the daemon ends before, the array has no end, and so is no JSON.
        let _ = write(list, &owner.0, &sender);
    });
    (
        [(CONTENT_TYPE, "application/json")],
        axum::body::Body::new(Parts(parts)),
    )
        .into_response()
}

async fn begin(owner: &Loop) -> Result<BanList, Failure> {
    let unread = owner.clone().call(|guard| guard.list_bans()).await?;
    let read = spawn_blocking(move || unread.read()).await;
    read.map_err(|error| Failure::unreachable(format!("the bans were not read: {error}")))?
}

/// Writes the rest of a list, in a thread of its own. None where nobody reads it, or nobody has it,
/// any more.
fn write(mut list: BanList, tasks: &mpsc::Sender<Task>, parts: &mpsc::Sender<Bytes>) -> Option<()> {
    let mut before = b'[';
    loop {
        let bans = list.views(next(&list, tasks)?);
        if bans.is_empty() {
            break;
        }
        parts.blocking_send(elements(&bans, before)?).ok()?;
        before = b',';
    }
    let end: &[u8] = if before == b'[' { b"[]" } else { b"]" };
    parts.blocking_send(Bytes::from_static(end)).ok()
}

fn next(list: &BanList, tasks: &mpsc::Sender<Task>) -> Option<Vec<ListedBan>> {
    let (reply, answer) = oneshot::channel();
    let last = list.last();
    let task: Task = Box::new(move |guard| {
        // The daemon may be stopping.
        let _ = reply.send(guard.bans_behind(last));
    });
    tasks.blocking_send(task).ok()?;
    answer.blocking_recv().ok()
}

/// Elements of an array, each with what stands before it.
fn elements(bans: &[BanView], mut before: u8) -> Option<Bytes> {
    let mut text = Vec::new();
    for ban in bans {
        text.push(before);
        serde_json::to_writer(&mut text, ban).ok()?;
        before = b',';
    }
    Some(text.into())
}
