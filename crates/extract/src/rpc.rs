//! From questions to a chain's answers: endpoints, what their refusals mean, and which to ask.
//!
//! Nothing in here knows a protocol. The layers, from the bottom: [`wire`] carries bytes (over HTTP, within the process,
//! from a recording) under alloy's client; [`classify`] says what a refusal asks for; [`budget`] paces and counts a key;
//! [`endpoint`] retries and learns ([`profile`]), within what [`breaker`] and [`retries`] allow; [`route`] says whom to ask
//! first; [`pool`] goes from one endpoint to the next with [`patience`], and asks two at once when one is late ([`hedge`]);
//! [`scan`] does so for logs in windows, each of them a [`log_query`], [`trust`] asks again elsewhere. What is answered of an unfinished day is
//! in the [`journal`]; what was asked, and what for, in the [`tally`]. URLs are keys: [`secret`] keeps them unprintable.

mod breaker;
pub mod budget;
pub mod classify;
pub mod clock;
pub mod endpoint;
pub mod hedge;
pub mod journal;
pub mod keys;
pub(crate) mod log_query;
pub(crate) mod patience;
pub mod pool;
pub mod profile;
pub mod providers;
pub mod recording;
mod retries;
pub mod route;
pub mod scan;
pub mod secret;
pub mod share;
#[cfg(test)]
mod simulated;
pub mod tally;
pub mod trust;
pub mod wire;
