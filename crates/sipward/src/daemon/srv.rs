//! Where a name's SIP servers are by its SRV records (RFC 3263 section 4.2), asked of this machine's
//! name servers.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, TYPE, rdata::RData};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::machine::resolvers;

/// How SIP is spoken with whom the records name.
const SERVICES: [&str; 3] = ["_sip._udp", "_sip._tcp", "_sips._tcp"];
/// A name server has so long for an answer, before the next one is asked.
const LONGEST: Duration = Duration::from_secs(2);
/// Servers of one name that are looked up at most.
const MOST: usize = 32;
/// Bytes of an answer over UDP at most (RFC 1035 section 4.2.1); a longer one is asked for over TCP.
const DATAGRAM: usize = 512;

/// The names of the SIP servers that a name stands for; none where it has no such records, or nobody
/// answers.
pub async fn servers(name: &str) -> Vec<String> {
    if !name.contains('.') {
        // A name of this machine or its network.
        return Vec::new();
    }
    let [udp, tcp, tls] = SERVICES.map(|service| format!("{service}.{name}"));
    let (udp, tcp, tls) = tokio::join!(records(&udp), records(&tcp), records(&tls));
    let mut servers = [udp, tcp, tls].concat();
    servers.sort_unstable();
    servers.dedup();
    servers.truncate(MOST);
    servers
}

async fn records(name: &str) -> Vec<String> {
    for server in resolvers(Path::new("/etc/resolv.conf")) {
        match timeout(LONGEST, ask(SocketAddr::new(server, 53), name)).await {
            Ok(Ok(records)) => return records,
            Ok(Err(why)) => tracing::debug!("{name}: {server}: {why}"),
            Err(_) => tracing::debug!("{name}: {server}: no answer"),
        }
    }
    Vec::new()
}

/// What a name server answers. The kernel chooses the port, and takes no datagram of anybody else.
async fn ask(server: SocketAddr, name: &str) -> Result<Vec<String>, String> {
    // Sixteen of its bits.
    let id = u16::try_from(RandomState::new().hash_one(0) & 0xffff).unwrap_or(0);
    let query = query(id, name)?;
    let shown = |error: std::io::Error| error.to_string();
    let own: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((own, 0)).await.map_err(shown)?;
    socket.connect(server).await.map_err(shown)?;
    socket.send(&query).await.map_err(shown)?;
    let mut answer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut answer).await.map_err(shown)?;
        match read(answer.get(..length).unwrap_or_default(), id, name) {
            Some(Answer::Records(records)) => return Ok(records),
            Some(Answer::Truncated) => break,
            // Somebody guesses at it: the right one may still come.
            None => {}
        }
    }
    let mut stream = TcpStream::connect(server).await.map_err(shown)?;
    let length = u16::try_from(query.len()).map_err(|error| error.to_string())?;
    let query = [&length.to_be_bytes()[..], &query].concat();
    stream.write_all(&query).await.map_err(shown)?;
    let mut answer = vec![0; stream.read_u16().await.map_err(shown)?.into()];
    stream.read_exact(&mut answer).await.map_err(shown)?;
    match read(&answer, id, name) {
        Some(Answer::Records(records)) => Ok(records),
        Some(Answer::Truncated) | None => Err("an answer that cannot be read".to_owned()),
    }
}

fn query(id: u16, name: &str) -> Result<Vec<u8>, String> {
    let shown = |error: simple_dns::SimpleDnsError| error.to_string();
    let name = Name::new(name).map_err(shown)?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let question = Question::new(name, QTYPE::TYPE(TYPE::SRV), CLASS::IN.into(), false);
    packet.questions.push(question);
    packet.build_bytes_vec().map_err(shown)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Records(Vec<String>),
    Truncated,
}

/// `None` where it is no answer to this question.
fn read(bytes: &[u8], id: u16, name: &str) -> Option<Answer> {
    let packet = Packet::parse(bytes).ok()?;
    let asked = packet.questions.first()?.qname.to_string();
    let is_ours = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && asked.eq_ignore_ascii_case(name);
    if !is_ours {
        return None;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(Answer::Truncated);
    }
    let targets = packet.answers.iter().filter_map(|record| {
        let RData::SRV(record) = &record.rdata else {
            return None;
        };
        let target = record.target.to_string();
        let target = target.trim_end_matches('.').to_ascii_lowercase();
        // "." says that there is no such service.
        crate::address::is_name(&target).then_some(target)
    });
    Some(Answer::Records(targets.collect()))
}

#[cfg(test)]
mod tests {
    use super::{Answer, ask, query, read};
    use simple_dns::{
        CLASS, Name, Packet, PacketFlag, ResourceRecord,
        rdata::{RData, SRV},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, UdpSocket},
    };

    const NAME: &str = "_sip._udp.provider.example";

    fn answer(query: &[u8], targets: &[&str], flags: PacketFlag) -> Vec<u8> {
        let mut packet = Packet::parse(query).unwrap().into_reply();
        packet.set_flags(PacketFlag::RESPONSE | flags);
        for target in targets {
            let record = SRV {
                priority: 10,
                weight: 0,
                port: 5060,
                target: Name::new(target).unwrap(),
            };
            packet.answers.push(ResourceRecord::new(
                Name::new(NAME).unwrap(),
                CLASS::IN,
                60,
                RData::SRV(record),
            ));
        }
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn only_an_answer_to_the_question_is_read() {
        let asked = query(7, NAME).unwrap();
        let right = answer(&asked, &["SIP1.provider.example"], PacketFlag::empty());
        let records = vec!["sip1.provider.example".to_owned()];
        assert_eq!(read(&right, 7, NAME), Some(Answer::Records(records)));
        assert_eq!(read(&right, 8, NAME), None, "another query's");
        assert_eq!(read(&right, 7, "_sip._udp.other.example"), None);
        assert_eq!(read(&asked, 7, NAME), None, "the question itself");
        assert_eq!(read(b"\0\x07 no DNS", 7, NAME), None);
        let none = answer(&asked, &[], PacketFlag::empty());
        assert_eq!(read(&none, 7, NAME), Some(Answer::Records(Vec::new())));
    }

    #[tokio::test]
    async fn a_long_answer_comes_over_tcp() {
        let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = datagrams.local_addr().unwrap();
        let streams = TcpListener::bind(at).await.unwrap();
        let server = async {
            let mut query = vec![0; 512];
            let (length, client) = datagrams.recv_from(&mut query).await.unwrap();
            query.truncate(length);
            // A guess of somebody else first.
            let forged = [&[query[0] ^ 1], &query[1..]].concat();
            let forged = answer(&forged, &["evil.example"], PacketFlag::empty());
            datagrams.send_to(&forged, client).await.unwrap();
            let cut = answer(&query, &[], PacketFlag::TRUNCATION);
            datagrams.send_to(&cut, client).await.unwrap();

            let (mut stream, _) = streams.accept().await.unwrap();
            let mut query = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut query).await.unwrap();
            let whole = answer(&query, &["a.example", "b.example"], PacketFlag::empty());
            stream
                .write_u16(whole.len().try_into().unwrap())
                .await
                .unwrap();
            stream.write_all(&whole).await.unwrap();
        };
        let (found, ()) = tokio::join!(ask(at, NAME), server);
        assert_eq!(found.unwrap(), ["a.example", "b.example"]);
    }
}
