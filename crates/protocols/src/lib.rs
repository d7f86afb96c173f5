//! Lending families: one file a family, pure, without IO.
//!
//! A family knows which contracts a deployment has ([`Family::discover`]), which view calls make a snapshot of it,
//! which logs are its liquidations, and what all the answers mean. `extract` carries out its calls and never decodes;
//! `transform` decodes and never calls. Both are engines that know no family by name: they look it up in [`family`].

pub mod aave_v3;
pub mod answers;
pub mod cap;
pub mod compound_v2;
pub mod compound_v3;
pub mod family;
pub mod fluid;
pub mod gearbox;
pub mod morpho_blue;
pub mod multicall;
pub mod oracle;
pub mod token;

pub use answers::{Answers, Call, Missing};
pub use family::{
    At, BadDebt, BlockPace, ColumnLimit, DayStart, Discovery, DiscoveryError, Extent, Family, Gives, Layout,
    LayoutDrift, Leg, LogReading, Market, PriceAnswer, Quote, ReserveFigures, Snapshot, TokenAnswer, Witness,
};

/// Every family that can be read, in order of name.
pub const FAMILIES: &[&dyn Family] = &[
    &aave_v3::AaveV3,
    &cap::Cap,
    &compound_v2::CompoundV2,
    &compound_v3::CompoundV3,
    &fluid::Fluid,
    &gearbox::Gearbox,
    &morpho_blue::MorphoBlue,
];

/// The family of a registry file's name.
pub fn family(name: &str) -> Option<&'static dyn Family> {
    FAMILIES.iter().copied().find(|family| family.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::registry::Registry;
    use lake::schema::Row;
    use lake::schema::gold::PanelDaily;
    use std::path::Path;

    pub(crate) fn registry() -> Registry {
        Registry::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/registry")).unwrap()
    }

    #[test]
    fn families_stand_in_order_of_name() {
        assert!(FAMILIES.is_sorted_by_key(|family| family.name()));
    }

    #[test]
    fn every_limit_names_a_column_of_the_panel() {
        let columns: Vec<&str> = PanelDaily::TABLE.columns.iter().map(|column| column.name).collect();
        for family in FAMILIES {
            for limit in family.limits() {
                assert!(columns.contains(&limit.column), "{}: {}", family.name(), limit.column);
            }
        }
    }

    #[test]
    fn every_row_of_the_registry_has_what_its_family_begins_with() {
        for csu in registry().csus() {
            let Some(family) = family(&csu.family) else { continue };
            let step = family.discover(csu, &Answers::default(), &[]);
            assert!(step.is_ok(), "{}: {step:?}", csu.id);
        }
    }
}
