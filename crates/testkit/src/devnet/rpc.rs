//! JSON-RPC to a node on this machine, over one plain loopback socket.
//!
//! Deliberately not the client of `extract`: the expected answers must come by another road. It speaks just enough
//! HTTP/1.1 for anvil (keep-alive, `Content-Length`), and nothing but the loopback interface.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use alloy_primitives::{Address, U256, hex};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

/// A client of one local node.
#[derive(Debug)]
pub struct Rpc {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Rpc {
    /// A client of the node that listens on this loopback port. Connects at the first call.
    pub fn new(port: u16) -> Self {
        Self { address: (Ipv4Addr::LOCALHOST, port).into(), stream: None }
    }

    /// One call; an error answer of the node is an error here, with its message.
    ///
    /// # Errors
    /// When the node cannot be reached or answers with an error.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let answer =
            self.exchange(&body).with_context(|| format!("{method} to the node on {}", self.address))?;
        let mut answer: Value = serde_json::from_slice(&answer)
            .with_context(|| format!("{method}: the node's answer is not JSON"))?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: the node answers {error}");
        }
        answer.get_mut("result").map(Value::take).ok_or_else(|| anyhow!("{method}: no result in the answer"))
    }

    fn exchange(&mut self, body: &str) -> Result<Vec<u8>> {
        // A kept-alive socket may have been closed by the node meanwhile; no call is repeated, because a repeated
        // `evm_mine` would mine twice. Anvil keeps its sockets open, so this does not happen in practice.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))
                    .context("cannot connect; is anvil still running?")?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(300)))?;
                BufReader::new(stream)
            }
        };
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 200"), "unexpected status line {line:?}");
        let mut length = None;
        loop {
            line.clear();
            ensure!(stream.read_line(&mut line)? > 0, "the node closed the connection");
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse::<usize>().context("the Content-Length of an answer")?);
            }
        }
        let mut body = vec![0; length.context("an answer without Content-Length")?];
        stream.read_exact(&mut body)?;
        self.stream = Some(stream);
        Ok(body)
    }

    /// `eth_call` at the end of a block.
    ///
    /// # Errors
    /// When the call reverts or the node does not hold the block's state.
    pub fn eth_call(&mut self, to: Address, data: &[u8], block: u64) -> Result<Vec<u8>> {
        let params = json!([{"to": to, "data": hex::encode_prefixed(data)}, quantity(block)]);
        let answer = self.call("eth_call", params).with_context(|| format!("to {to} at block {block}"))?;
        Ok(hex::decode(text(&answer)?)?)
    }
}

/// A number as JSON-RPC writes it.
pub fn quantity(n: u64) -> String {
    format!("{n:#x}")
}

/// A JSON value as text.
///
/// # Errors
/// When it is not a string.
pub fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("expected text, found {value}"))
}

/// A JSON-RPC quantity as a number.
///
/// # Errors
/// When it is not a hexadecimal number below 2^64.
pub fn number(value: &Value) -> Result<u64> {
    let text = text(value)?;
    let n: U256 = text.parse().with_context(|| format!("expected a quantity, found {text:?}"))?;
    u64::try_from(n).with_context(|| format!("the quantity {text} does not fit 64 bits"))
}
