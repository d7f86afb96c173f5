// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.0;

interface IToken {
    function balanceOf(address account) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

/// A layer with the storage words and the events of Fluid's Liquidity contract, written for tests. It keeps its totals twice:
/// in the packed words, as Fluid does, and unpacked, from which `truth` counts interest by its definition: what those who owe
/// with interest owe more, less the fee, is what those who supply with interest have more.
contract Liquidity {
    uint256 private slot0;
    /// Slot 1: 1 open, 2 paused.
    uint256 private status = 1;
    uint256[3] private slots2to4;
    /// Slot 5.
    mapping(address => uint256) private exchangePricesAndConfig;
    uint256 private slot6;
    /// Slot 7.
    mapping(address => uint256) private totalAmounts;
    uint256[2] private slots8and9;
    /// Slot 10.
    address[] private listedTokens;

    struct Books {
        uint256 rate; // 1e4 is 100 % a year
        uint256 fee; // 1e4 is all
        uint256 updated;
        uint256 supplyPrice; // 1e12
        uint256 borrowPrice;
        uint256 supplyRaw; // with interest, divided by its price
        uint256 supplyFree;
        uint256 borrowRaw;
        uint256 borrowFree;
    }

    mapping(address => Books) private books;

    event LogOperate(
        address indexed user, address indexed token, int256 supplyAmount, int256 borrowAmount,
        address withdrawTo, address borrowTo, uint256 totalAmounts, uint256 exchangePricesAndConfig
    );
    event LogUpdateExchangePrices(
        address indexed token, uint256 indexed supplyExchangePrice, uint256 indexed borrowExchangePrice,
        uint256 borrowRate, uint256 utilization
    );

    function readFromStorage(bytes32 slot) external view returns (uint256 word) {
        assembly {
            word := sload(slot)
        }
    }

    function list(address token, uint256 rate, uint256 fee) external {
        listedTokens.push(token);
        books[token] = Books(rate, fee, block.timestamp, 1e12, 1e12, 0, 0, 0, 0);
        uint256 utilization = write(token);
        emit LogUpdateExchangePrices(token, 1e12, 1e12, rate, utilization);
    }

    function setRate(address token, uint256 rate) external {
        accrue(token);
        books[token].rate = rate;
        uint256 utilization = write(token);
        emit LogUpdateExchangePrices(token, books[token].supplyPrice, books[token].borrowPrice, rate, utilization);
    }

    function setStatus(uint256 status_) external {
        status = status_;
    }

    /// Positive: supplied, borrowed. Negative: withdrawn, paid back.
    function operate(address token, int256 supplied, int256 borrowed, address to, bool withInterest) external {
        accrue(token);
        Books storage it = books[token];
        if (withInterest) {
            it.supplyRaw = shift(it.supplyRaw, supplied, it.supplyPrice);
            it.borrowRaw = shift(it.borrowRaw, borrowed, it.borrowPrice);
        } else {
            it.supplyFree = shift(it.supplyFree, supplied, 1e12);
            it.borrowFree = shift(it.borrowFree, borrowed, 1e12);
        }
        int256 inflow = supplied - borrowed;
        if (inflow > 0) IToken(token).transferFrom(msg.sender, address(this), uint256(inflow));
        if (inflow < 0) IToken(token).transfer(to, uint256(-inflow));
        write(token);
        tell(token, supplied, borrowed, to);
    }

    function tell(address token, int256 supplied, int256 borrowed, address to) private {
        (uint256 totals, uint256 prices) = (totalAmounts[token], exchangePricesAndConfig[token]);
        emit LogOperate(msg.sender, token, supplied, borrowed, to, to, totals, prices);
    }

    /// What is supplied and owed now.
    function truth(address token) external view returns (uint256 supplied, uint256 borrowed) {
        Books memory it = later(books[token]);
        supplied = it.supplyRaw * it.supplyPrice / 1e12 + it.supplyFree;
        borrowed = it.borrowRaw * it.borrowPrice / 1e12 + it.borrowFree;
    }

    function shift(uint256 raw, int256 by, uint256 price) private pure returns (uint256) {
        return by < 0 ? raw - uint256(-by) * 1e12 / price : raw + uint256(by) * 1e12 / price;
    }

    function later(Books memory it) private view returns (Books memory) {
        uint256 seconds_ = block.timestamp - it.updated;
        uint256 owedMore = it.borrowRaw * it.borrowPrice / 1e12 * it.rate * seconds_ / (1e4 * 365 days);
        it.borrowPrice += it.borrowPrice * it.rate * seconds_ / (1e4 * 365 days);
        if (it.supplyRaw > 0) it.supplyPrice += owedMore * (1e4 - it.fee) / 1e4 * 1e12 / it.supplyRaw;
        it.updated = block.timestamp;
        return it;
    }

    function accrue(address token) private {
        books[token] = later(books[token]);
    }

    function write(address token) private returns (uint256 utilization) {
        Books memory it = books[token];
        uint256 withInterest = it.supplyRaw * it.supplyPrice / 1e12;
        uint256 owedWithInterest = it.borrowRaw * it.borrowPrice / 1e12;
        uint256 supplied = withInterest + it.supplyFree;
        utilization = supplied == 0 ? 0 : (owedWithInterest + it.borrowFree) * 1e4 / supplied;
        totalAmounts[token] = packed(it.supplyRaw) | packed(it.supplyFree) << 64 | packed(it.borrowRaw) << 128
            | packed(it.borrowFree) << 192;
        exchangePricesAndConfig[token] = it.rate | it.fee << 16 | utilization << 30 | it.updated << 58
            | it.supplyPrice << 91 | it.borrowPrice << 155 | part(withInterest, it.supplyFree) << 219
            | part(owedWithInterest, it.borrowFree) << 234;
    }

    /// 56 bits and an exponent of 8.
    function packed(uint256 amount) private pure returns (uint256) {
        uint256 exponent;
        while (amount >= 1 << 56) {
            amount >>= 1;
            exponent++;
        }
        return amount << 8 | exponent;
    }

    /// The smaller of the parts with and without interest, of the larger, in 1e4; the first bit tells that the one with
    /// interest is the smaller.
    function part(uint256 withInterest, uint256 free) private pure returns (uint256) {
        if (withInterest < free) return (withInterest * 1e4 / free) << 1 | 1;
        return withInterest == 0 ? 0 : (free * 1e4 / withInterest) << 1;
    }
}

contract VaultFactory {
    uint256 public totalVaults;
    Liquidity private immutable liquidity;

    constructor(Liquidity liquidity_) {
        liquidity = liquidity_;
    }

    function deploy(uint256 vaultType, address supply, address borrow, address supplyToken, address borrowToken) external {
        totalVaults += 1;
        new Vault(liquidity, vaultType, supply, borrow, supplyToken, borrowToken);
    }

    function getVaultAddress(uint256 id) external view returns (address) {
        require(id < 128, "too many");
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"d694", address(this), uint8(id))))));
    }
}

/// A vault with the event and the constants of Fluid's: 13 words of the first kind (10000), 18 of the later ones.
contract Vault {
    Liquidity private immutable liquidity;
    uint256 private immutable vaultType;
    address private immutable supply;
    address private immutable borrow;
    address private immutable supplyToken;
    address private immutable borrowToken;

    event LogLiquidate(address liquidator_, uint256 colAmt_, uint256 debtAmt_, address to_);
    event LogAbsorb(uint256 colAbsorbedRaw_, uint256 debtAbsorbedRaw_);

    constructor(Liquidity liquidity_, uint256 type_, address supply_, address borrow_, address supplyToken_, address borrowToken_) {
        (liquidity, vaultType, supply, borrow) = (liquidity_, type_, supply_, borrow_);
        (supplyToken, borrowToken) = (supplyToken_, borrowToken_);
    }

    function constantsView() external view {
        uint256 words = vaultType == 10_000 ? 13 : 18;
        uint256[18] memory out;
        if (words == 13) {
            out[4] = uint160(supplyToken);
            out[5] = uint160(borrowToken);
        } else {
            out[6] = uint160(supply);
            out[7] = uint160(borrow);
            out[8] = uint160(supplyToken);
            out[10] = uint160(borrowToken);
            out[13] = vaultType;
        }
        assembly {
            return(out, mul(words, 32))
        }
    }

    /// Collateral in, debt out, for whoever calls.
    function open(uint256 collateral, uint256 debt) external {
        if (vaultType == 10_000) {
            IToken(supplyToken).transferFrom(msg.sender, address(this), collateral);
            approve(supplyToken);
            liquidity.operate(supplyToken, int256(collateral), 0, msg.sender, true);
        }
        liquidity.operate(borrowToken, 0, int256(debt), msg.sender, true);
    }

    function liquidate(uint256 debt, uint256 collateral, address to) external {
        IToken(borrowToken).transferFrom(msg.sender, address(this), debt);
        approve(borrowToken);
        liquidity.operate(borrowToken, 0, -int256(debt), msg.sender, true);
        if (vaultType == 10_000) liquidity.operate(supplyToken, -int256(collateral), 0, to, true);
        emit LogAbsorb(collateral / 2, debt / 2);
        emit LogLiquidate(msg.sender, collateral, debt, to);
    }

    function approve(address token) private {
        (bool ok,) = token.call(abi.encodeWithSignature("approve(address,uint256)", liquidity, type(uint256).max));
        require(ok, "approve");
    }
}
