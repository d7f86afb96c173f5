//! From questions to a chain's answers: endpoints, what their refusals mean, and which to ask.
//!
//! Nothing in here knows a protocol. The layers, from the bottom: [`wire`] carries bytes (over HTTP, from a recording)
//! under alloy's client; [`classify`] says what a refusal asks for; [`endpoint`] paces and retries; [`pool`] falls over
//! from one endpoint to the next and scans logs in windows. URLs are keys: [`secret`] keeps them unprintable.

pub mod budget;
pub mod classify;
pub mod endpoint;
pub mod pool;
pub mod providers;
pub mod recording;
pub mod secret;
pub mod wire;
