//! `/v1/bans`: a JSON array that may have a million elements, written while it is read.

use std::{sync::Arc, time::Duration};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use hyper::{body::Bytes, header::CONTENT_TYPE};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, mpsc::error::SendTimeoutError},
    time::timeout,
};

use super::{
    api::BanView,
    server::{Loop, Parts, in_time, refuse},
};
use crate::{
    daemon::{BanList, feeds::beside},
    exit::Failure,
};

/// Parts that wait for a client at most, each of 2,000 bans, which are 700 kB.
const MOST_PARTS: usize = 4;
/// How often all bans of the kernel are read at once at most: 50 MB for a million, which a list keeps to
/// its end.
const MOST_LISTS: usize = 4;
/// How long one more waits for the end of another.
const WAIT: Duration = Duration::from_secs(5);
/// A list of which nobody takes the next part for so long is given up: who reads it in a pager takes
/// his time.
const PATIENCE: Duration = Duration::from_secs(600);

/// Who reads all bans of the kernel.
#[derive(Clone, Debug)]
pub(super) struct Lists(Arc<Semaphore>);

impl Default for Lists {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_LISTS)))
    }
}

impl Lists {
    /// Answers as soon as it is known what each ban has dropped; all that may fail is done then.
    pub async fn answer(&self, owner: Loop) -> Response {
        let place = match self.place().await {
            Ok(place) => place,
            Err(failure) => return refuse(StatusCode::SERVICE_UNAVAILABLE, failure),
        };
        let (list, place) = match begin(&owner, place).await {
            Ok(begun) => begun,
            Err(failure) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, failure),
        };
        let (sender, parts) = mpsc::channel(MOST_PARTS);
        tokio::spawn(async move {
            // Where the client or the daemon ends before, the array has no end, and so is no JSON.
            let _ = write(list, owner, sender).await;
            drop(place);
        });
        (
            [(CONTENT_TYPE, "application/json")],
            axum::body::Body::new(Parts(parts)),
        )
            .into_response()
    }

    /// A place among those who read. It is for the thread that does: that one reads to the end, even
    /// where who asked has gone.
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let place = self.0.clone().acquire_owned();
        let Ok(Ok(place)) = timeout(WAIT, place).await else {
            return Err(Failure::unreachable(format!(
                "{MOST_LISTS} lists of the bans are being read, and none has ended within {} s: try \
                 again later",
                WAIT.as_secs()
            )));
        };
        Ok(place)
    }
}

async fn begin(
    owner: &Loop,
    place: OwnedSemaphorePermit,
) -> Result<(BanList, OwnedSemaphorePermit), Failure> {
    let unread = in_time(owner.clone().call(|guard| guard.list_bans())).await?;
    beside(move || Ok((unread.read()?, place))).await?
}

/// Writes the rest of a list, each part in a thread beside the loop: while nobody reads there is none.
/// None where nobody reads it, or nobody has it, any more.
async fn write(mut list: BanList, owner: Loop, parts: mpsc::Sender<Bytes>) -> Option<()> {
    let mut before = b'[';
    loop {
        let last = list.last();
        let next = owner.clone().call(move |guard| Ok(guard.bans_behind(last)));
        let bans = next.await.ok()?;
        if bans.is_empty() {
            break;
        }
        let part;
        (list, part) = beside(move || {
            let part = elements(&list.views(bans), before);
            (list, part)
        })
        .await
        .ok()?;
        send(&parts, part?).await?;
        before = b',';
    }
    let end: &[u8] = if before == b'[' { b"[]" } else { b"]" };
    send(&parts, Bytes::from_static(end)).await
}

async fn send(parts: &mpsc::Sender<Bytes>, part: Bytes) -> Option<()> {
    match parts.send_timeout(part, PATIENCE).await {
        Ok(()) => Some(()),
        Err(SendTimeoutError::Closed(_)) => None,
        Err(SendTimeoutError::Timeout(_)) => {
            tracing::warn!(
                "control socket: who asked for the bans has not read on for {} minutes: the list \
                 is given up",
                PATIENCE.as_secs() / 60
            );
            None
        }
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{body::Body, extract::Request};
    use http_body_util::BodyExt as _;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use serde_json::Value;
    use tokio::{
        sync::mpsc,
        time::{Instant, advance, timeout},
    };

    use super::{Lists, MOST_LISTS, PATIENCE, Response, WAIT};
    use crate::{
        control::{
            api::BanRequest,
            server::{Loop, MOST_WAITING, Task, router},
        },
        daemon::{Bench, Guard, addresses, ban},
    };

    /// In more parts than wait for a client.
    const BANS: u32 = 13_000;
    /// Longer than anything here may take. Time passes only while everybody waits for it.
    const FOR_EVER: Duration = Duration::from_secs(3_600);

    fn banned() -> (Bench, Guard) {
        let bench = Bench::new();
        let mut guard = bench.guard();
        let request = BanRequest {
            prefixes: addresses(BANS),
            ..ban("100.64.0.0/16")
        };
        guard.ban(&request).unwrap();
        (bench, guard)
    }

    /// Has the guard do what is asked of it until the client has seen enough.
    async fn serve(guard: &mut Guard, client: impl AsyncFnOnce(Loop)) {
        let (sender, mut tasks) = mpsc::channel::<Task>(MOST_WAITING);
        let served = async {
            while let Some(task) = tasks.recv().await {
                task(guard);
            }
        };
        tokio::select! {
            () = client(Loop(sender)) => {}
            () = served => {}
        }
    }

    async fn read(response: Response) -> Result<usize, serde_json::Error> {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let bans: Value = serde_json::from_slice(&body)?;
        Ok(bans.as_array().unwrap().len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_nobody_reads_on_is_given_up() {
        let (_bench, mut guard) = banned();
        serve(&mut guard, async |owner| {
            let lists = Lists::default();
            let begun = Instant::now();
            let stalled = lists.answer(owner.clone()).await;
            let all = u32::try_from(MOST_LISTS).unwrap();
            let places = timeout(FOR_EVER, lists.0.acquire_many(all)).await;
            let places = places.unwrap().unwrap();
            assert!(begun.elapsed() >= PATIENCE);
            drop(places);
            // What it has is no JSON; another one is whole.
            read(stalled).await.unwrap_err();
            assert_eq!(
                read(lists.answer(owner).await).await.unwrap(),
                BANS as usize
            );
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn of_five_lists_the_last_waits_for_the_end_of_another() {
        let (_bench, mut guard) = banned();
        serve(&mut guard, async |owner| {
            let lists = Lists::default();
            let mut stalled = Vec::new();
            for _ in 0..MOST_LISTS {
                stalled.push(lists.answer(owner.clone()).await);
            }
            let begun = Instant::now();
            let refused = lists.answer(owner.clone()).await;
            assert_eq!(refused.status(), 503);
            assert!(begun.elapsed() >= WAIT);
            stalled.pop();
            assert_eq!(
                read(lists.answer(owner).await).await.unwrap(),
                BANS as usize
            );
        })
        .await;
    }

    /// What is answered at the socket.
    async fn get(owner: &TowerToHyperService<axum::Router>, path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).unwrap();
        owner.call(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_list_whose_client_hangs_up_counts_until_the_kernel_is_read() {
        let (bench, mut guard) = banned();
        let (begun, go_on) = bench.hold_reading_up();
        serve(&mut guard, async |owner| {
            let lists = Lists::default();
            tokio::select! {
                _ = lists.answer(owner) => panic!("the kernel was not waited for"),
                begun = begun => begun.unwrap(),
            }
            assert_eq!(lists.0.available_permits(), MOST_LISTS - 1);
            go_on.send(()).unwrap();
            let all = u32::try_from(MOST_LISTS).unwrap();
            drop(lists.0.acquire_many(all).await.unwrap());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_kernel_may_take_longer_for_a_list_than_a_request_may() {
        let (bench, mut guard) = banned();
        let (begun, go_on) = bench.hold_reading_up();
        serve(&mut guard, async |owner| {
            let control = TowerToHyperService::new(router(owner.0));
            let reading = async {
                begun.await.unwrap();
                advance(Duration::from_secs(60)).await;
                go_on.send(()).unwrap();
            };
            let (answer, ()) = tokio::join!(get(&control, "/v1/bans"), reading);
            assert_eq!(answer.status(), 200);
            assert_eq!(read(answer).await.unwrap(), BANS as usize);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_why_of_many_bans_waits_for_the_end_of_a_list_too() {
        let (_bench, mut guard) = banned();
        serve(&mut guard, async |owner| {
            let control = TowerToHyperService::new(router(owner.0));
            let mut stalled = Vec::new();
            for _ in 0..MOST_LISTS {
                stalled.push(get(&control, "/v1/bans").await);
            }
            let many = "/v1/why?prefix=100.64.0.0/10";
            let begun = Instant::now();
            assert_eq!(get(&control, many).await.status(), 503);
            assert!(begun.elapsed() >= WAIT);
            // Of few the kernel is asked one by one.
            let few = "/v1/why?prefix=100.64.0.1/32";
            assert_eq!(get(&control, few).await.status(), 200);
            stalled.pop();
            assert_eq!(get(&control, many).await.status(), 200);
        })
        .await;
    }
}
