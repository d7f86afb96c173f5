//! A key stands in a URL, and providers tell URLs back: whatever they do, it is in nothing that a command prints or leaves
//! in the lake, with every message switched on.

use crate::in_process::{Shape, World};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use testkit::server::{Policy, Server};
use testkit::tree::files_with;

const KEY: &str = "sk_planted_0123456789abcdef";
/// One that is written otherwise within a URL.
const ODD_KEY: &str = "sk planted/ö+0123456789";
const ODD_KEY_IN_URL: &str = "sk%20planted/%C3%B6+0123456789";

/// What a provider makes of a request, with the URL that it was sent to.
type Failure = fn(&str) -> Reply;

enum Reply {
    Http(&'static str, &'static str, String),
    Reset,
}

/// Ways to fail, each at a path of its own.
const FAILURES: [(&str, Failure); 9] = [
    ("page", |url| Reply::Http("200 OK", "text/html", format!("<html><title>{url}</title></html>"))),
    ("reset", |_| Reply::Reset),
    ("unauthorized", |url| Reply::Http("401 Unauthorized", "text/plain", format!("no such key: {url}"))),
    ("forbidden", |url| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":-32600,"message":"{url} is disabled"}}}}"#
        );
        Reply::Http("403 Forbidden", "application/json", body)
    }),
    ("data", |url| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":0,"error":{{"code":-32000,"message":"no","data":{{"url":"{}"}}}}}}"#,
            url.replace('/', "\\/")
        );
        Reply::Http("200 OK", "application/json", body)
    }),
    ("gateway", |url| Reply::Http("502 Bad Gateway", "text/html", format!("<a href='{url}'>{url}</a>"))),
    ("foreign", |url| {
        let body = format!(r#"{{"status":"0","message":"NOTOK","result":"{url}"}}"#);
        Reply::Http("200 OK", "application/json", body)
    }),
    ("loop", |url| Reply::Http("302 Found", "text/plain", url.to_owned())),
    ("quota", |url| {
        Reply::Http("429 Too Many Requests", "text/plain", format!("{url} is over its capacity"))
    }),
];

/// A server that fails by path. Below `/late` it tells its chain id truly, and fails from then on.
struct Echo {
    port: u16,
}

impl Echo {
    /// Serves for as long as the test lives.
    fn open(chain_id: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream, port, chain_id));
            }
        });
        Self { port }
    }
}

/// Answers one request, and closes the connection.
fn answer(stream: TcpStream, port: u16, chain_id: u64) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let call: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let url = format!("http://127.0.0.1:{port}{path}");
    let is_identity = call["method"] == "eth_chainId" && path.starts_with("/late/");
    let failure = FAILURES.iter().find(|(name, _)| path.contains(&format!("/{name}/")))?.1;
    let reply = match is_identity {
        true => {
            let answer =
                serde_json::json!({ "jsonrpc": "2.0", "id": call["id"], "result": format!("{chain_id:#x}") });
            Reply::Http("200 OK", "application/json", answer.to_string())
        }
        false => failure(&url),
    };
    let mut stream = stream;
    match reply {
        // Dropped with the answer owing.
        Reply::Reset => None,
        Reply::Http(status, content_type, body) => {
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\nlocation: {url}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).ok()?;
            stream.write_all(body.as_bytes()).ok()
        }
    }
}

/// A row of a providers file.
fn row(label: &str, chain: &str, url: &str) -> String {
    format!(
        "[[endpoint]]\nlabel = \"{label}\"\noperator = \"{label}\"\nchain = \"{chain}\"\nurl = \"{url}\"\n\
         log_window = 500\nrequests_per_second = 1000.0\nsource = \"a test\"\n\n"
    )
}

/// Every failure at once, and those that do not pass late as well, with the key in the path; some with it elsewhere.
fn failing_rows(chain: &str, port: u16) -> String {
    let mut rows = String::new();
    let at_once = FAILURES.iter().map(|(name, _)| ("at-once", *name));
    for (when, name) in at_once.chain([("late", "unauthorized"), ("late", "forbidden")]) {
        let url = format!("http://127.0.0.1:{port}/{when}/{name}/v2/${{PLANTED_KEY}}");
        rows += &row(&format!("{name}_{when}"), chain, &url);
    }
    let at = format!("127.0.0.1:{port}/at-once/unauthorized");
    for (label, url) in [
        ("in_the_query", format!("http://{at}/?apikey=${{PLANTED_KEY}}")),
        ("in_the_credentials", format!("http://somebody:${{PLANTED_KEY}}@{at}/")),
        ("in_the_host", "https://${PLANTED_KEY}.invalid/rpc".to_owned()),
        ("odd", format!("http://{at}/v2/${{ODD_KEY}}")),
        ("numbered", format!("http://{at}/v2/${{PLANTED_KEY_*}}")),
        ("whole_url", "${PLANTED_URL}".to_owned()),
        ("without_tls", format!("https://{at}/v2/${{PLANTED_KEY}}")),
    ] {
        rows += &row(label, chain, &url);
    }
    rows
}

fn extract(arguments: &[&str], world: &World, providers: &Path, lake: &Path, port: u16) -> Output {
    Command::new(env!("CARGO_BIN_EXE_extract"))
        .args(arguments)
        .arg("--run")
        .arg(world.setting().path().join("run.toml"))
        .arg("--providers")
        .arg(providers)
        .arg("--lake")
        .arg(lake)
        .env("PLANTED_KEY", KEY)
        .env("PLANTED_KEY_1", KEY)
        .env("ODD_KEY", ODD_KEY)
        .env("PLANTED_URL", format!("http://127.0.0.1:{port}/at-once/unauthorized/v2/{KEY}"))
        .env("LENDLAKE_LOG", "trace")
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap()
}

/// Insists that no form of a key, and no address, is in what was printed or left.
fn assert_hidden(case: &str, output: &Output, lake: &Path) {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let parts = [KEY, "sk_planted", "0123456789", ODD_KEY, ODD_KEY_IN_URL, "%C3%B6+"];
    for part in parts {
        assert!(!said.contains(part), "{case} printed `{part}`: {said}");
        assert_eq!(files_with(lake, part).unwrap(), Vec::<String>::new(), "{case} left `{part}`");
    }
}

#[test]
fn a_key_in_a_url_is_in_nothing_that_is_printed_or_left_however_a_provider_fails() {
    let world = World::new(Shape { block_seconds: 600, days: 1, csus: 1, ..Shape::default() });
    let chain = world.registered();
    let echo = Echo::open(chain.chain_id);
    let honest = Server::spawn(world.shared_chain(), Policy::honest()).unwrap();
    let honest = row("honest", &chain.name, &honest_url(&honest));
    let write = |name: &str, rows: &str| {
        let file = world.setting().path().join(name);
        std::fs::write(&file, rows).unwrap();
        file
    };
    let failing = failing_rows(&chain.name, echo.port);
    let nobody = write("nobody.toml", &failing);
    let one = write("one.toml", &format!("{failing}{honest}"));
    let broken = write("broken.toml", &row("broken", &chain.name, "${PLANTED_KEY}"));
    let cases: [(&str, &[&str], &Path, &[i32]); 9] = [
        ("run, with nobody who answers", &["run"], &nobody, &[1, 2]),
        ("run --json, with nobody who answers", &["run", "--json"], &nobody, &[1, 2]),
        ("run, with one who answers", &["run", "--audit", "receipts"], &one, &[0]),
        ("run --json, with one who answers", &["run", "--json"], &one, &[0]),
        ("plan", &["plan"], &one, &[0]),
        ("plan --json", &["plan", "--json"], &one, &[0]),
        ("doctor", &["doctor"], &one, &[1]),
        ("doctor --json", &["doctor", "--json"], &nobody, &[1, 2]),
        ("run, with a key for a URL", &["run"], &broken, &[2]),
    ];
    std::thread::scope(|scope| {
        for (nth, (case, arguments, providers, codes)) in cases.into_iter().enumerate() {
            let (world, port) = (&world, echo.port);
            scope.spawn(move || {
                let lake = world.setting().lake(&format!("planted-{nth}"));
                let output = extract(arguments, world, providers, &lake, port);
                let code = output.status.code().unwrap();
                assert!(codes.contains(&code), "{case}: {code}: {}", String::from_utf8_lossy(&output.stderr));
                assert_hidden(case, &output, &lake);
                if case.starts_with("run, with nobody") {
                    // What they said is told, without what must not be.
                    let said = String::from_utf8_lossy(&output.stderr);
                    for part in
                        ["unauthorized_at-once", "no such key", "[hidden]", "in_the_host", "whole_url"]
                    {
                        assert!(said.contains(part), "{part}: {said}");
                    }
                }
            });
        }
    });
}

/// The honest server's URL with the key in it.
fn honest_url(server: &Server) -> String {
    server.url_with("/v2/${PLANTED_KEY}")
}
