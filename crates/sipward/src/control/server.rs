//! The daemon's end of the control socket.
//!
//! Only root and the daemon's own user are heard: the socket is mode 0600, and the peer's
//! credentials are asked of the kernel besides. A request is answered after ten seconds at the
//! latest and is a mebibyte at most; only who watches stays, and a list of the bans begins when the kernel
//! is read. Each becomes a task for the loop that owns everything.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, Request, State, rejection::JsonRejection},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::{
    body::{Bytes, Frame},
    header::CONTENT_TYPE,
};
use nix::{
    sys::stat::{Mode, umask},
    unistd::geteuid,
};
use serde::Serialize;
use tokio::{
    net::{UnixListener, UnixStream, unix::SocketAddr},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    api::{
        AccountQuery, AllowRequest, BanRequest, BansQuery, FeedRequest, ImportRequest,
        LARGEST_REQUEST, Refusal, UnbanRequest, WhyQuery,
    },
    bans::Lists,
    watch::WatchRequest,
};
use crate::{
    daemon::{Guard, Story, TellsBans, feeds, names},
    exit::{Exit, Failure},
};

/// Something to do for the one who owns the guard.
pub type Task = Box<dyn FnOnce(&mut Guard) + Send>;

/// A request ends after this time at the latest.
const LONGEST: Duration = Duration::from_secs(10);
/// Tasks that wait for the loop at most.
pub const MOST_WAITING: usize = 64;

/// The socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Control {
    /// Listens at `path`, whose folder is made where it does not exist. A socket that a dead
    /// daemon left behind is replaced.
    ///
    /// # Errors
    /// Exit code 2: another daemon listens there, something that is no socket is there, or the file
    /// cannot be made.
    pub fn bind(path: &Path) -> Result<Self, Failure> {
        let failure = |what: String| Failure::input(format!("{}: {what}", path.display()));
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(folder)
                .map_err(|error| failure(format!("cannot make the socket's folder: {error}")))?;
        }
        if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
            return Err(failure(
                "this is no socket, and it is left as it is: name another path with --socket"
                    .to_owned(),
            ));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(failure(
                "another sipward that is running answers here: stop that one first, or name \
                 another socket with --socket"
                    .to_owned(),
            ));
        }
        let listener = bind_private(path)
            .map_err(|error| failure(format!("cannot make the control socket: {error}")))?;
        Ok(Self {
            path: path.to_owned(),
            listener: Some(listener),
        })
    }

    /// Serves in the background; what is asked goes into the channel.
    pub fn serve(&mut self, tasks: mpsc::Sender<Task>) {
        if let Some(listener) = self.listener.take() {
            tokio::spawn(async move {
                // It accepts for ever.
                let _ = axum::serve(Peers(listener), router(tasks)).await;
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Nobody could mend it: the next daemon replaces what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// Accepts connections of root and of the daemon's own user.
struct Peers(UnixListener);

impl axum::serve::Listener for Peers {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            // Retries after errors such as too many open files.
            let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == 0 || peer.uid() == geteuid().as_raw() => {
                    return (stream, address);
                }
                Ok(peer) => tracing::warn!("control socket: user {} is not heard", peer.uid()),
                Err(error) => tracing::warn!("control socket: who calls? {error}"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Binds so that the socket is never there with other permissions.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let before = umask(Mode::S_IRWXG | Mode::S_IRWXO | Mode::S_IXUSR);
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

/// Who owns the guard.
#[derive(Clone)]
pub(super) struct Loop(pub(super) mpsc::Sender<Task>);

impl Loop {
    /// Has the owner of the guard do something, and waits for the answer.
    pub(super) async fn ask<T: Serialize + Send + 'static>(
        self,
        what: impl FnOnce(&mut Guard) -> Result<T, Failure> + Send + 'static,
    ) -> Response {
        answer(self.call(what).await)
    }

    pub(super) async fn call<T: Send + 'static>(
        self,
        what: impl FnOnce(&mut Guard) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        call(&self.0, what).await
    }
}

/// Has the owner of the guard do something, and waits for what comes of it.
///
/// # Errors
/// As it; or the daemon is stopping.
pub async fn call<T: Send + 'static>(
    tasks: &mpsc::Sender<Task>,
    what: impl FnOnce(&mut Guard) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (reply, answer) = oneshot::channel();
    let task: Task = Box::new(move |guard| {
        // Whoever asked may have gone.
        let _ = reply.send(what(guard));
    });
    let stopping = || Failure::unreachable("the daemon is stopping");
    match tasks.send(task).await {
        Ok(()) => answer.await.unwrap_or_else(|_| Err(stopping())),
        Err(_) => Err(stopping()),
    }
}

/// A body in parts, each as it comes.
pub(super) struct Parts(pub(super) mpsc::Receiver<Bytes>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.0.poll_recv(context);
        part.map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

type Body<T> = Result<Json<T>, JsonRejection>;

pub(super) fn router(tasks: mpsc::Sender<Task>) -> Router {
    let lists = Lists::default();
    let (of_address, of_account) = (lists.clone(), lists.clone());
    Router::new()
        .route(
            "/v1/status",
            get(async |State(owner): State<Loop>| owner.ask(|guard| guard.status()).await),
        )
        .route(
            "/v1/why",
            get(
                async move |State(owner): State<Loop>, Query(query): Query<WhyQuery>| {
                    tell(owner, &of_address, move |guard| guard.why(&query.prefix)).await
                },
            ),
        )
        .route(
            "/v1/why/account",
            get(
                async move |State(owner): State<Loop>, Query(query): Query<AccountQuery>| {
                    let why = move |guard: &mut Guard| guard.why_account(&query.account);
                    tell(owner, &of_account, why).await
                },
            ),
        )
        .route(
            "/v1/suspects",
            get(async |State(owner): State<Loop>| owner.ask(|guard| Ok(guard.suspects())).await),
        )
        .route(
            "/v1/trusted",
            get(async |State(owner): State<Loop>| owner.ask(|guard| Ok(guard.trusted())).await),
        )
        .route(
            "/v1/allowed",
            get(async |State(owner): State<Loop>| owner.ask(|guard| guard.allowed()).await),
        )
        .route(
            "/v1/ban",
            post(async |State(owner): State<Loop>, body: Body<BanRequest>| {
                order(owner, body, Guard::ban).await
            }),
        )
        .route(
            "/v1/import",
            post(
                async |State(owner): State<Loop>, body: Body<ImportRequest>| {
                    order(owner, body, Guard::import).await
                },
            ),
        )
        .route(
            "/v1/unban",
            post(
                async |State(owner): State<Loop>, body: Body<UnbanRequest>| {
                    order(owner, body, Guard::unban).await
                },
            ),
        )
        .route("/v1/feed", post(feed))
        .route("/v1/allow", post(allow))
        .route(
            "/v1/disallow",
            post(
                async |State(owner): State<Loop>, body: Body<AllowRequest>| {
                    order(owner, body, Guard::disallow).await
                },
            ),
        )
        .route("/v1/watch", post(watch))
        .layer(middleware::from_fn(limit_time))
        // Without the limit above: nftables takes its time to tell a million bans.
        .route(
            "/v1/bans",
            get(
                async move |State(owner): State<Loop>, Query(query): Query<BansQuery>| {
                    if query.history {
                        answer(in_time(owner.call(|guard| guard.past_bans())).await)
                    } else {
                        lists.answer(owner).await
                    }
                },
            ),
        )
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .with_state(Loop(tasks))
}

/// What many bans have dropped is read beside the loop.
async fn tell<View: TellsBans + Serialize + Send + 'static>(
    owner: Loop,
    lists: &Lists,
    what: impl FnOnce(&mut Guard) -> Result<Story<View>, Failure> + Send + 'static,
) -> Response {
    let story = match owner.call(what).await {
        Ok(story) => story,
        Err(failure) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, failure),
    };
    if story.is_read() {
        return answer(story.read());
    }
    let place = match lists.place().await {
        Ok(place) => place,
        Err(failure) => return refuse(StatusCode::SERVICE_UNAVAILABLE, failure),
    };
    let told = feeds::beside(move || {
        let view = story.read();
        drop(place);
        view
    });
    answer(told.await.flatten())
}

async fn order<Asked: Send + 'static, T: Serialize + Send + 'static>(
    owner: Loop,
    body: Body<Asked>,
    carry_out: impl FnOnce(&mut Guard, &Asked) -> Result<T, Failure> + Send + 'static,
) -> Response {
    match body {
        Ok(Json(request)) => owner.ask(move |guard| carry_out(guard, &request)).await,
        Err(rejection) => refuse(rejection.status(), Failure::input(rejection.body_text())),
    }
}

/// Names are looked up here: the loop does not wait for a name server.
async fn allow(State(owner): State<Loop>, body: Body<AllowRequest>) -> Response {
    let names = match &body {
        Ok(Json(request)) => names::look_up_all(&request.names).await,
        Err(_) => Ok(Vec::new()),
    };
    match names {
        Ok(names) => order(owner, body, |guard, request| guard.allow(request, names)).await,
        Err(failure) => refuse(StatusCode::UNPROCESSABLE_ENTITY, failure),
    }
}

/// Signatures are compiled beside the loop.
async fn feed(State(owner): State<Loop>, body: Body<FeedRequest>) -> Response {
    let swapped = match &body {
        Ok(Json(request)) if request.signatures => feeds::swap_signatures(&owner.0).await,
        Ok(_) | Err(_) => Ok(()),
    };
    match swapped {
        Ok(()) => order(owner, body, Guard::take_feed).await,
        Err(failure) => refuse(StatusCode::UNPROCESSABLE_ENTITY, failure),
    }
}

async fn watch(State(owner): State<Loop>, body: Body<WatchRequest>) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => {
            return refuse(rejection.status(), Failure::input(rejection.body_text()));
        }
    };
    match owner.call(|guard| guard.watch(request.prefixes)).await {
        Ok(lines) => (
            [(CONTENT_TYPE, "application/x-ndjson")],
            axum::body::Body::new(Parts(lines)),
        )
            .into_response(),
        Err(failure) => refuse(StatusCode::UNPROCESSABLE_ENTITY, failure),
    }
}

async fn limit_time(request: Request, next: Next) -> Response {
    in_time(async { Ok(next.run(request).await) })
        .await
        .unwrap_or_else(|failure| refuse(StatusCode::GATEWAY_TIMEOUT, failure))
}

/// What comes within the time that a request may take.
pub(super) async fn in_time<T>(
    what: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = || Failure::unreachable("the daemon did not answer in time");
    timeout(LONGEST, what).await.unwrap_or_else(|_| Err(late()))
}

fn answer<T: Serialize>(what: Result<T, Failure>) -> Response {
    match what {
        Ok(value) => Json(value).into_response(),
        Err(failure) => refuse(StatusCode::UNPROCESSABLE_ENTITY, failure),
    }
}

pub(super) fn refuse(status: StatusCode, failure: Failure) -> Response {
    let refusal = Refusal {
        exit: failure.exit as u8,
        error: failure.text,
    };
    (status, Json(refusal)).into_response()
}

impl Refusal {
    /// As the failure of the command.
    #[must_use]
    pub fn failure(self) -> Failure {
        let known = [
            Exit::Negative,
            Exit::Input,
            Exit::Unreachable,
            Exit::Unsupported,
            Exit::Config,
        ];
        let exit = known
            .into_iter()
            .find(|exit| *exit as u8 == self.exit)
            .unwrap_or(Exit::Input);
        Failure {
            exit,
            text: self.error,
        }
    }
}
