// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.19;

import {Morpho} from "src/Morpho.sol";
import {MarketParams, Id} from "src/interfaces/IMorpho.sol";
import {EventsLib} from "src/libraries/EventsLib.sol";
import {MarketParamsLib} from "src/libraries/MarketParamsLib.sol";

/// Morpho Blue with what Lista's Moolah adds to its interface, as far as it is read: a switch, brokers, and the event by which
/// a broker's debt is written off.
contract Moolah is Morpho {
    using MarketParamsLib for MarketParams;

    bool public paused;
    mapping(Id => address) public brokers;

    constructor(address owner_) Morpho(owner_) {}

    function setPaused(bool on) external {
        paused = on;
    }

    function setBroker(Id id, address broker) external {
        brokers[id] = broker;
    }

    /// Writes off all that someone owes. The event gives it as repaid, too, though nobody paid.
    function liquidateBrokerPosition(MarketParams memory params, address borrower) external {
        this.accrueInterest(params);
        Id id = params.id();
        uint128 shares = position[id][borrower].borrowShares;
        uint128 assets = uint128(uint256(shares) * market[id].totalBorrowAssets / market[id].totalBorrowShares);
        position[id][borrower].borrowShares = 0;
        market[id].totalBorrowShares -= shares;
        market[id].totalBorrowAssets -= assets;
        market[id].totalSupplyAssets -= assets;
        emit EventsLib.Liquidate(id, msg.sender, borrower, assets, shares, 0, assets, shares);
    }
}

/// Dollars of every token, 8 decimals.
contract PriceBook {
    mapping(address => uint256) public peek;

    function set(address token, uint256 price) external {
        peek[token] = price;
    }
}

/// A market's oracle: a token's dollars from the book, and from them the collateral in the loan token as Morpho wants it.
contract BookOracle {
    PriceBook private immutable book;
    address private immutable loan;
    address private immutable collateral;
    uint256 private immutable scale;

    constructor(PriceBook book_, address loan_, address collateral_, uint256 scale_) {
        (book, loan, collateral, scale) = (book_, loan_, collateral_, scale_);
    }

    function peek(address token) external view returns (uint256) {
        return book.peek(token);
    }

    function price() external view returns (uint256) {
        return book.peek(collateral) * scale / book.peek(loan);
    }
}
