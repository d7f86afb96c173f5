// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.19;

import {IMorpho, MarketParams, Market, Id} from "src/interfaces/IMorpho.sol";
import {MarketParamsLib} from "src/libraries/MarketParamsLib.sol";
import {MorphoBalancesLib} from "src/libraries/periphery/MorphoBalancesLib.sol";

/// What Morpho's own library says of a market with the interest up to now. It changes no state.
contract MorphoReader {
    using MorphoBalancesLib for IMorpho;

    function totals(IMorpho morpho, MarketParams memory params) external view returns (uint256 supplied, uint256 borrowed) {
        (supplied, , borrowed, ) = morpho.expectedMarketBalances(params);
    }

    function id(MarketParams memory params) external pure returns (Id) {
        return MarketParamsLib.id(params);
    }
}

/// A rate model that looks at no market, with the interface of Morpho's FixedRateIrm.
contract FixedRateModel {
    uint256 private immutable rate;

    constructor(uint256 ratePerSecond) {
        rate = ratePerSecond;
    }

    function borrowRateView(MarketParams memory, Market memory) external view returns (uint256) {
        return rate;
    }

    function borrowRate(MarketParams memory, Market memory) external view returns (uint256) {
        return rate;
    }
}
