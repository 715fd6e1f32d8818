//! A web server on loopback.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::Arc,
    thread,
};

use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// What a server does: the head of a request comes in, an answer goes out. An error ends the
/// connection.
pub type Answer = dyn Fn(&str, &mut dyn Write) -> std::io::Result<()> + Send + Sync;

/// A web server on loopback for the length of the test; returns its port.
pub fn serve(tls: Option<Arc<ServerConfig>>, answer: Box<Answer>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    serve_on(listener, tls, answer)
}

/// As [`serve`], where the listener is.
pub fn serve_on(listener: TcpListener, tls: Option<Arc<ServerConfig>>, answer: Box<Answer>) -> u16 {
    let port = listener.local_addr().unwrap().port();
    let answer: Arc<Answer> = answer.into();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (answer, tls) = (Arc::clone(&answer), tls.clone());
            // A client that goes away ends its thread.
            thread::spawn(move || match tls {
                None => converse(stream, &*answer),
                Some(tls) => {
                    let connection = ServerConnection::new(tls).map_err(std::io::Error::other)?;
                    converse(StreamOwned::new(connection, stream), &*answer)
                }
            });
        }
    });
    port
}

fn converse(stream: impl Read + Write, answer: &Answer) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    answer(&head, stream.get_mut())?;
    stream.get_mut().flush()
}

pub fn ok(out: &mut dyn Write, body: &[u8]) -> std::io::Result<()> {
    write!(
        out,
        "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    out.write_all(body)
}

/// What a request asks for.
pub fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

/// Whether it asks for another version than the one that [`ok`] sends.
pub fn has_it(head: &str) -> bool {
    head.to_ascii_lowercase().contains("if-none-match: \"v1\"")
}

pub fn not_found(out: &mut dyn Write) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
}

pub fn not_modified(out: &mut dyn Write) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 304 Not Modified\r\n\r\n")
}

/// A certificate for 127.0.0.1 that is its own authority.
pub fn certificate(folder: &Path) -> Arc<ServerConfig> {
    let text = "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=feed\n\
        [ext]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n";
    fs::write(folder.join("config"), text).unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args([
            "-nodes", "-days", "2", "-config", "config", "-keyout", "key", "-out", "crt",
        ])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let certificate = CertificateDer::from_pem_file(folder.join("crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}
