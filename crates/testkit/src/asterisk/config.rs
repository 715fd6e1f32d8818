//! The configuration of a test's Asterisk.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    Asterisk, Driver, ECHO_EXTENSION, Guests, MANAGER_SECRET, MANAGER_USER, Settings, WS_PORT,
    WSS_PORT,
};
use crate::lab::PBX;
use crate::process::Process;
use crate::user_agent::Transport;

/// Of TLS, in the folder of the configuration.
pub(super) const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";

/// Only what the tests use: it starts in a fraction of a second and says nothing about databases.
const MODULES: &[&str] = &[
    "app_dial",
    "app_echo",
    "app_verbose",
    "bridge_simple",
    "chan_pjsip",
    "chan_sip",
    "codec_alaw",
    "codec_ulaw",
    "format_pcm",
    "func_base64",
    "func_callerid",
    "func_channel",
    "func_strings",
    "pbx_config",
    "res_pjproject",
    "res_pjsip",
    "res_pjsip_acl",
    "res_pjsip_authenticator_digest",
    "res_pjsip_caller_id",
    "res_pjsip_dialog_info_body_generator",
    "res_pjsip_dlg_options",
    "res_pjsip_endpoint_identifier_anonymous",
    "res_pjsip_endpoint_identifier_ip",
    "res_pjsip_endpoint_identifier_user",
    "res_pjsip_exten_state",
    "res_pjsip_header_funcs",
    "res_pjsip_messaging",
    "res_pjsip_mwi",
    "res_pjsip_mwi_body_generator",
    "res_pjsip_nat",
    "res_pjsip_outbound_authenticator_digest",
    // The states of extensions are not loaded without it.
    "res_pjsip_outbound_publish",
    "res_pjsip_outbound_registration",
    "res_pjsip_pidf_body_generator",
    "res_pjsip_pubsub",
    "res_pjsip_refer",
    "res_pjsip_registrar",
    "res_pjsip_sdp_rtp",
    "res_pjsip_session",
    "res_rtp_asterisk",
    "res_security_log",
    "res_sorcery_astdb",
    "res_sorcery_config",
    "res_sorcery_memory",
    "res_timing_timerfd",
];

/// What WebSocket needs beside them. The driver that has no WebSocket must not load its part.
const WEB_SOCKET: &[&str] = &["res_http_websocket"];
const PJSIP_WEB_SOCKET: &[&str] = &["res_pjsip_transport_websocket"];

/// Files that Asterisk wants to see, if only to be empty.
const EMPTY: &[&str] = &[
    "acl.conf",
    "ccss.conf",
    "cdr.conf",
    "cel.conf",
    "features.conf",
    "indications.conf",
    "pjproject.conf",
    "rtp.conf",
    "sip_notify.conf",
    "stasis.conf",
    "udptl.conf",
    "users.conf",
];

pub(super) fn write(folder: &Path, settings: &Settings) -> Result<()> {
    for name in ["etc", "lib", "log", "run", "spool"] {
        fs::create_dir(folder.join(name))?;
    }
    // Asterisk looks up its own name, and a resolver that does not answer would hold it.
    fs::write(folder.join("hosts"), "127.0.0.1 localhost pbx\n")?;
    fs::write(folder.join("resolv.conf"), "")?;

    let web_socket = match settings.tls_and_web_socket {
        None => [&[][..], &[]],
        Some(Driver::ChanSip) => [WEB_SOCKET, &[]],
        Some(Driver::Pjsip) => [WEB_SOCKET, PJSIP_WEB_SOCKET],
    };
    // The HTTP server is to be there before what offers WebSocket on it.
    let modules: String = web_socket
        .into_iter()
        .chain([MODULES])
        .flatten()
        .map(|name| format!("load={name}.so\n"))
        .collect();
    let mut files = BTreeMap::from([
        ("asterisk.conf", ASTERISK.to_owned()),
        ("modules.conf", format!("[modules]\nautoload=no\n{modules}")),
        ("logger.conf", LOGGER.to_owned()),
        ("manager.conf", manager()),
        ("sip.conf", chan_sip(settings)),
        ("pjsip.conf", pjsip(settings)),
        ("extensions.conf", extensions(settings)),
    ]);
    files.extend(EMPTY.iter().map(|name| (*name, "[general]\n".to_owned())));
    let etc = folder.join("etc");
    if settings.tls_and_web_socket.is_some() {
        files.insert("http.conf", http());
        make_certificate(&etc)?;
    }
    for (name, more) in &settings.appended {
        files.entry(name).or_default().push_str(more);
    }
    for (name, text) in files {
        fs::write(etc.join(name), text)?;
    }
    Ok(())
}

/// A key and a certificate for the PBX's address, which are nobody's before and after: `tls.key` and
/// `tls.crt`.
///
/// # Errors
/// Without openssl.
pub fn make_certificate(folder: &Path) -> Result<()> {
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-noenc", "-days", "2", "-subj", "/CN=pbx"])
        .args(["-addext", &format!("subjectAltName=IP:{PBX}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join(PRIVATE_KEY))
        .arg("-out")
        .arg(folder.join(CERTIFICATE));
    let made = Process::run(&mut command, Duration::from_secs(30))?;
    ensure!(made.status.success(), "openssl: {}", made.stderr);
    Ok(())
}

const ASTERISK: &str = "\
[directories]
astetcdir => /srv/etc
astmoddir => /usr/lib/asterisk/modules
astvarlibdir => /srv/lib
astdbdir => /srv/lib
astkeydir => /srv/lib
astdatadir => /usr/share/asterisk
astagidir => /usr/share/asterisk/agi-bin
astspooldir => /srv/spool
astrundir => /srv/run
astlogdir => /srv/log
[options]
entityid = 02:00:00:00:00:01
nocolor = yes
verbose = 3
";

/// `headers` gets the DTMF level because nothing else that runs here uses it.
const LOGGER: &str = "\
[general]
dateformat = %F %T.%3q
[logfiles]
messages => notice,warning,error
security => security
full => notice,warning,error,verbose
headers => dtmf
";

fn manager() -> String {
    format!(
        "[general]\nenabled = yes\nbindaddr = 127.0.0.1\nport = 5038\n\
         [{MANAGER_USER}]\nsecret = {MANAGER_SECRET}\nread = all\nwrite = all\n"
    )
}

fn http() -> String {
    format!(
        "[general]\nenabled = yes\nbindaddr = 0.0.0.0\nbindport = {WS_PORT}\n\
         tlsenable = yes\ntlsbindaddr = 0.0.0.0:{WSS_PORT}\n\
         tlscertfile = /srv/etc/{CERTIFICATE}\ntlsprivatekey = /srv/etc/{PRIVATE_KEY}\n"
    )
}

fn context(settings: &Settings) -> &'static str {
    match settings.guests {
        Guests::Refused => "phones",
        Guests::Noted => "noted",
    }
}

fn chan_sip(settings: &Settings) -> String {
    let port = settings.chan_sip_port;
    let allow_guest = match settings.guests {
        Guests::Refused => "no",
        Guests::Noted => "yes",
    };
    let mut text = format!(
        "[general]\ncontext = {}\nallowguest = {allow_guest}\nalwaysauthreject = yes\n\
         udpbindaddr = [::]:{port}\ntcpenable = yes\ntcpbindaddr = [::]:{port}\n\
         srvlookup = no\nallowoverlap = no\ndisallow = all\nallow = ulaw,alaw\n",
        context(settings)
    );
    text += match settings.tls_and_web_socket {
        Some(Driver::ChanSip) => "websocket_enabled = yes\n",
        Some(Driver::Pjsip) | None => "websocket_enabled = no\n",
    };
    if settings.tls_and_web_socket.is_some() {
        let _ = write!(
            text,
            "tlsenable = yes\ntlsbindaddr = [::]:{}\n\
             tlscertfile = /srv/etc/{CERTIFICATE}\ntlsprivatekey = /srv/etc/{PRIVATE_KEY}\n\
             transport = udp,tcp,tls,ws,wss\n",
            Driver::ChanSip.address_over(Transport::Tls).port()
        );
    }
    text += "[phone](!)\ntype = friend\nhost = dynamic\ncontext = phones\n\
             nat = force_rport,comedia\ndirectmedia = no\n";
    for extension in settings.extensions.iter().cloned().flatten() {
        let password = Asterisk::password(extension);
        let _ = writeln!(text, "[{extension}](phone)\nsecret = {password}");
    }
    text
}

fn pjsip(settings: &Settings) -> String {
    let mut text = String::new();
    for port in &settings.pjsip_ports {
        for (name, address) in [("", "0.0.0.0"), ("6", "[::]")] {
            for protocol in ["udp", "tcp"] {
                let _ = writeln!(
                    text,
                    "[{protocol}{name}-{port}]\ntype = transport\nprotocol = {protocol}\n\
                     bind = {address}:{port}"
                );
            }
        }
    }
    if settings.tls_and_web_socket.is_some() {
        // Left alone, PJSIP 2.10 offers nothing newer than TLS 1.0.
        let _ = writeln!(
            text,
            "[tls]\ntype = transport\nprotocol = tls\nmethod = tlsv1_2\nbind = 0.0.0.0:{}\n\
             cert_file = /srv/etc/{CERTIFICATE}\npriv_key_file = /srv/etc/{PRIVATE_KEY}",
            Driver::Pjsip.address_over(Transport::Tls).port()
        );
    }
    if settings.tls_and_web_socket == Some(Driver::Pjsip) {
        for protocol in ["ws", "wss"] {
            let _ = writeln!(
                text,
                "[{protocol}]\ntype = transport\nprotocol = {protocol}\nbind = 0.0.0.0"
            );
        }
    }
    text += "[phone](!)\ntype = endpoint\ncontext = phones\ndisallow = all\nallow = ulaw,alaw\n\
             force_rport = yes\nrewrite_contact = yes\nrtp_symmetric = yes\ndirect_media = no\n\
             [phone-aor](!)\ntype = aor\nmax_contacts = 5\nremove_existing = yes\n\
             [phone-auth](!)\ntype = auth\nauth_type = userpass\n";
    for extension in settings.extensions.iter().cloned().flatten() {
        let password = Asterisk::password(extension);
        let _ = writeln!(
            text,
            "[{extension}](phone)\nauth = auth-{extension}\naors = {extension}\n\
             [{extension}](phone-aor)\n\
             [auth-{extension}](phone-auth)\nusername = {extension}\npassword = {password}"
        );
    }
    match settings.guests {
        Guests::Refused => {}
        Guests::Noted => {
            text += "[anonymous]\ntype = endpoint\ncontext = noted\ndisallow = all\nallow = ulaw\n";
        }
    }
    text
}

/// A value goes into the log in base64: nothing in it can then be taken for the log's own text.
fn extensions(settings: &Settings) -> String {
    let mut text = format!(
        "[phones]\nexten => {ECHO_EXTENSION},1,Answer()\n same => n,Echo()\n same => n,Hangup()\n"
    );
    for extension in settings.extensions.iter().cloned().flatten() {
        let _ = writeln!(
            text,
            "exten => {extension},hint,SIP/{extension}&PJSIP/{extension}\n\
             exten => {extension},1,Dial(SIP/{extension}&PJSIP/{extension},20)"
        );
    }
    let note = |driver: &str, read: &str| {
        let mut fields = String::new();
        for header in [
            "Call-ID",
            "User-Agent",
            "Server",
            "From",
            "To",
            "Contact",
            "Via",
        ] {
            let _ = write!(fields, " {header}=${{BASE64_ENCODE(${{{read}{header})}})}}");
        }
        format!(
            "NoOp()\n same => n,Log(DTMF,{driver}{fields} Caller=${{BASE64_ENCODE(${{CALLERID(num)}})}} CallerName=${{BASE64_ENCODE(${{CALLERID(name)}})}})\n same => n,Hangup(21)\n"
        )
    };
    let _ = write!(
        text,
        "[noted]\nexten => _X.,1,GotoIf($[\"${{CHANNEL(channeltype)}}\" = \"PJSIP\"]?pjsip)\n \
         same => n,{} same => n(pjsip),{}",
        note("chan_sip", "SIP_HEADER("),
        note("pjsip", "PJSIP_HEADER(read,"),
    );
    text
}
