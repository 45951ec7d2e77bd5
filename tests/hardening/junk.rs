//! Malformed requests.

use std::fmt::Write as _;

use fastrand::Rng;

/// A random malformed request of the `number`th kind.
pub(super) fn request(random: &mut Rng, number: usize) -> Vec<u8> {
    match number % 16 {
        0 => bytes(random, 2_000),
        1 => {
            [b"GET /v1/changes?after=".to_vec(), bytes(random, 200), b" HTTP/1.1\r\n\r\n".to_vec()]
                .concat()
        }
        2 => get(&format!("/v1/tables/{}/rows/{}", percent(random), percent(random)), ""),
        3 => get(&format!("/v1/changes?{}={}", percent(random), percent(random)), ""),
        4 => b"GET /v1/changes HTTP/1.0\r\n\r\n".to_vec(),
        5 => get("/v1/changes", &format!("x-large: {}\r\n", "a".repeat(random.usize(..200_000)))),
        6 => get("/livez", &"x-many: b\r\n".repeat(random.usize(50..400))),
        7 => get(&format!("/{}", "a/".repeat(random.usize(..60_000))), ""),
        8 => get(&format!("/v1/tables/items/rows?ids={}", "1,".repeat(random.usize(..20_000))), ""),
        9 => smuggled(random),
        10 => get("http://elsewhere.example/v1/changes?tables=items", ""),
        11 => odd_line(random).into_bytes(),
        12 => [
            b"GET /v1/tables/items/rows/".to_vec(),
            bytes(random, 40),
            b" HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        ]
        .concat(),
        13 => get(&format!("/v1/tables/items/rows/{}", odd_id(random)), ""),
        14 => [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), bytes(random, 500)].concat(),
        _ => frames(random),
    }
}

/// The statuses of the responses in these bytes; 0 if there is none.
pub(super) fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    let lines = text.split("HTTP/1.").skip(1).filter_map(|rest| rest.get(2..5)?.parse().ok());
    let found: Vec<u16> = lines.collect();
    if found.is_empty() { vec![0] } else { found }
}

fn get(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n").into_bytes()
}

fn bytes(random: &mut Rng, most: usize) -> Vec<u8> {
    (0..random.usize(1..most)).map(|_| random.u8(..)).collect()
}

/// Valid and invalid percent-encoding, also of bytes that are not UTF-8.
fn percent(random: &mut Rng) -> String {
    (0..random.usize(1..30)).fold(String::new(), |mut text, _| {
        let byte = random.u8(..);
        let _ = match random.u8(..8) {
            0 => write!(text, "%"),
            1 => write!(text, "%{:x}", byte & 15),
            2 => write!(text, "%zz"),
            3 => write!(text, "%00"),
            4 => write!(text, "+,&="),
            5 => write!(text, "{}", char::from(b'a' + byte % 26)),
            _ => write!(text, "%{byte:02X}"),
        };
        text
    })
}

fn odd_id(random: &mut Rng) -> String {
    let ids = [
        "%22",
        "%2C",
        ",",
        ",,,",
        "-0",
        "1e309",
        "NaN",
        "99999999999999999999",
        "%27%20OR%201=1",
        "..",
        "%2e%2e%2f",
        "%F0%9F%98%80",
        "%C0%80",
        "%FF",
        "1?at_least=0/0",
        "1?at_least=%zz",
        "1?wait=1e9s",
    ];
    random.choice(ids).unwrap_or_default().to_owned()
}

/// A request whose end is ambiguous (request smuggling).
fn smuggled(random: &mut Rng) -> Vec<u8> {
    let hidden = "0\r\n\r\nGET /admin/reload?table=all HTTP/1.1\r\nhost: x\r\n\r\n";
    let headers = [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "content-length: -1\r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\tchunked\r\ntransfer-encoding: x\r\n",
        "expect: 100-continue\r\ncontent-length: 5\r\n",
    ];
    let header = random.choice(headers).unwrap_or_default();
    let method = random.choice(["POST", "GET", "HEAD", "PUT"]).unwrap_or_default();
    format!("{method} /v1/changes HTTP/1.1\r\nhost: x\r\n{header}\r\n{hidden}").into_bytes()
}

fn odd_line(random: &mut Rng) -> String {
    let lines = [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / \r\n\r\n",
        "GET  /  HTTP/1.1\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\nhost: x\n\n",
        "get /v1/changes HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "BREW /v1/changes HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "CONNECT db.example:5432 HTTP/1.1\r\nhost: x\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "TRACE / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "POST /admin/reload?table=%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /v1/ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "GET /v1/ws HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "GET /v1/changes HTTP/1.1\r\n\r\n",
        "GET /v1/changes HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
        "GET /v1/changes HTTP/1.1\r\nhost: x\r\n folded: yes\r\n\r\n",
        "GET /v1/changes HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        "GET /v1/changes HTTP/1.1\r\nhost: x\r\n: empty\r\n\r\n",
        "GET /v1/changes HTTP/1.1\r\nhost: x\r\nif-none-match: \"\0\"\r\n\r\n",
        "GET /v1/changes?limit=1#fragment HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET //v1//changes HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /v1/../admin/reload HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03",
    ];
    random.choice(lines).unwrap_or_default().to_owned()
}

/// HTTP/2 frames of every type and size, on streams that were never opened.
fn frames(random: &mut Rng) -> Vec<u8> {
    let mut sent = super::PREFACE.to_vec();
    for _ in 0..random.usize(1..10) {
        let payload = bytes(random, 100);
        let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
        sent.extend_from_slice(&length[1..]);
        sent.extend_from_slice(&[random.u8(..12), random.u8(..)]);
        sent.extend_from_slice(&random.u32(..4).to_be_bytes());
        sent.extend_from_slice(&payload);
    }
    sent
}
