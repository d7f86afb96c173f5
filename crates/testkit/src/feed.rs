//! A Chainlink feed of a simulated chain: a round from each of its times on, as an aggregator's proxy answers.

use crate::simchain::Contracts;
use alloy_primitives::{Address, Bytes, I256, U256};
use alloy_sol_types::{SolInterface, SolValue};
use lake::bronze::Header;
use protocols::oracle::chainlink::IAggregatorV3::IAggregatorV3Calls;

/// A feed.
#[derive(Debug, Clone)]
pub struct Feed {
    /// Its proxy.
    pub address: Address,
    /// What it says it is.
    pub description: String,
    /// Its decimals.
    pub decimals: u8,
    /// Time and answer of each round, in order. Before the first it reverts, as a feed without data does.
    pub rounds: Vec<(u64, i128)>,
}

impl Feed {
    fn latest(&self, block: &Header) -> Option<(u64, u64, i128)> {
        let past = (1..).zip(&self.rounds).take_while(|(_, (time, _))| *time <= block.timestamp);
        past.last().map(|(round, (time, answer))| (round, *time, *answer))
    }
}

impl Contracts for Feed {
    fn has_code(&self, to: Address, _block: &Header) -> bool {
        to == self.address
    }

    fn call(&self, _to: Address, input: &[u8], block: &Header) -> Result<Bytes, Bytes> {
        match IAggregatorV3Calls::abi_decode(input).map_err(|_| Bytes::new())? {
            IAggregatorV3Calls::latestRoundData(_) => {
                let (round, time, answer) = self.latest(block).ok_or_else(Bytes::new)?;
                let (round, time) = (U256::from(round), U256::from(time));
                let answer = I256::try_from(answer).map_err(|_| Bytes::new())?;
                Ok((round, answer, time, time, round).abi_encode_params().into())
            }
            IAggregatorV3Calls::decimals(_) => Ok(U256::from(self.decimals).abi_encode().into()),
            IAggregatorV3Calls::description(_) => Ok((self.description.clone(),).abi_encode_params().into()),
        }
    }
}
