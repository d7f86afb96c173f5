//! Lending families: one file a family, pure, without IO.
//!
//! A family knows which contracts a deployment has ([`Family::discover`]), which view calls make a snapshot of it,
//! which logs are its liquidations, and what all the answers mean. `extract` carries out its calls and never decodes;
//! `transform` decodes and never calls. Both are engines that know no family by name: they look it up in [`family`].

pub mod aave_v3;
pub mod answers;
pub mod family;
pub mod multicall;
pub mod oracle;
pub mod token;

pub use answers::{Answers, Call, Missing};
pub use family::{
    BadDebt, BlockPace, ColumnLimit, Discovery, DiscoveryError, Extent, Family, Gives, Layout, LayoutDrift,
    Leg, LogReading, Market, PriceAnswer, Quote, ReserveFigures, Snapshot, TokenAnswer, Witness,
};

/// Every family that can be read, in order of name.
pub const FAMILIES: &[&dyn Family] = &[&aave_v3::AaveV3];

/// The family of a registry file's name.
pub fn family(name: &str) -> Option<&'static dyn Family> {
    FAMILIES.iter().copied().find(|family| family.name() == name)
}
