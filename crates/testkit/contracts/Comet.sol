// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.0;

interface IToken {
    function balanceOf(address account) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

interface IFeed {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
}

/// A market with the interface, the events and the accounting of Compound III, written for tests: balances are principals
/// times an index of 15 digits, which grows by a rate per second; absorbing takes all collateral of an account and pays its
/// debt from the reserves. No rewards, no allowances, no minimum borrow.
contract Comet {
    struct AssetInfo {
        uint8 offset;
        address asset;
        address priceFeed;
        uint64 scale;
        uint64 borrowCollateralFactor;
        uint64 liquidateCollateralFactor;
        uint64 liquidationFactor;
        uint128 supplyCap;
    }

    struct TotalsBasic {
        uint64 baseSupplyIndex;
        uint64 baseBorrowIndex;
        uint64 trackingSupplyIndex;
        uint64 trackingBorrowIndex;
        uint104 totalSupplyBase;
        uint104 totalBorrowBase;
        uint40 lastAccrualTime;
        uint8 pauseFlags;
    }

    struct TotalsCollateral {
        uint128 totalSupplyAsset;
        uint128 _reserved;
    }

    uint256 private constant FACTOR = 1e18;
    uint256 private constant INDEX = 1e15;

    address public immutable baseToken;
    address public immutable baseTokenPriceFeed;
    uint256 public immutable baseScale;
    uint256 public constant supplyKink = 0.8e18;
    uint256 public constant supplyPerSecondInterestRateBase = 0;
    uint256 public constant supplyPerSecondInterestRateSlopeLow = 1_030_568_239;
    uint256 public constant supplyPerSecondInterestRateSlopeHigh = 12_683_916_793;
    uint256 public constant borrowKink = 0.8e18;
    uint256 public constant borrowPerSecondInterestRateBase = 475_646_879;
    uint256 public constant borrowPerSecondInterestRateSlopeLow = 1_109_842_719;
    uint256 public constant borrowPerSecondInterestRateSlopeHigh = 7_927_447_995;

    TotalsBasic private basic;
    AssetInfo[] private assets;
    mapping(address => int256) public principal;
    mapping(address => TotalsCollateral) public totalsCollateral;
    mapping(address => mapping(address => uint256)) public collateralOf;

    event AbsorbDebt(address indexed absorber, address indexed borrower, uint256 basePaidOut, uint256 usdValue);
    event AbsorbCollateral(
        address indexed absorber, address indexed borrower, address indexed asset, uint256 collateralAbsorbed, uint256 usdValue
    );
    event BuyCollateral(address indexed buyer, address indexed asset, uint256 baseAmount, uint256 collateralAmount);
    /// Not in Compound's: what an absorbed account owed, and what its collateral was good for.
    event Truth(address indexed borrower, uint256 debt, uint256 covered);

    constructor(address token, address feed, uint256 scale) {
        baseToken = token;
        baseTokenPriceFeed = feed;
        baseScale = scale;
        basic.baseSupplyIndex = uint64(INDEX);
        basic.baseBorrowIndex = uint64(INDEX);
        basic.lastAccrualTime = uint40(block.timestamp);
    }

    function addAsset(address asset, address feed, uint64 scale, uint64[3] calldata factors, uint128 cap) external {
        assets.push(AssetInfo(uint8(assets.length), asset, feed, scale, factors[0], factors[1], factors[2], cap));
    }

    function pause(uint8 flags) external {
        basic.pauseFlags = flags;
    }

    // ---- What is read ----

    function numAssets() external view returns (uint8) {
        return uint8(assets.length);
    }

    function getAssetInfo(uint8 i) external view returns (AssetInfo memory) {
        return assets[i];
    }

    function getAssetInfoByAddress(address asset) external view returns (AssetInfo memory) {
        return assets[indexOf(asset)];
    }

    function totalsBasic() external view returns (TotalsBasic memory) {
        return basic;
    }

    function totalSupply() external view returns (uint256) {
        (uint256 index,) = indexes();
        return basic.totalSupplyBase * index / INDEX;
    }

    function totalBorrow() external view returns (uint256) {
        (, uint256 index) = indexes();
        return basic.totalBorrowBase * index / INDEX;
    }

    function getUtilization() public view returns (uint256) {
        // Of the indexes as they are kept, as Compound's.
        uint256 supplied = basic.totalSupplyBase * uint256(basic.baseSupplyIndex) / INDEX;
        uint256 borrowed = basic.totalBorrowBase * uint256(basic.baseBorrowIndex) / INDEX;
        return supplied == 0 ? 0 : borrowed * FACTOR / supplied;
    }

    function getSupplyRate(uint256 utilization) public pure returns (uint64) {
        return uint64(rate(utilization, supplyKink, supplyPerSecondInterestRateBase,
            supplyPerSecondInterestRateSlopeLow, supplyPerSecondInterestRateSlopeHigh));
    }

    function getBorrowRate(uint256 utilization) public pure returns (uint64) {
        return uint64(rate(utilization, borrowKink, borrowPerSecondInterestRateBase,
            borrowPerSecondInterestRateSlopeLow, borrowPerSecondInterestRateSlopeHigh));
    }

    function getReserves() external view returns (int256) {
        (uint256 supplyIndex, uint256 borrowIndex) = indexes();
        uint256 supplied = basic.totalSupplyBase * supplyIndex / INDEX;
        uint256 borrowed = basic.totalBorrowBase * borrowIndex / INDEX;
        return int256(IToken(baseToken).balanceOf(address(this))) - int256(supplied) + int256(borrowed);
    }

    function getCollateralReserves(address asset) external view returns (uint256) {
        return IToken(asset).balanceOf(address(this)) - totalsCollateral[asset].totalSupplyAsset;
    }

    function getPrice(address feed) public view returns (uint256) {
        (, int256 answer,,,) = IFeed(feed).latestRoundData();
        require(answer > 0, "bad price");
        return uint256(answer);
    }

    function balanceOf(address account) external view returns (uint256) {
        (uint256 index,) = indexes();
        return principal[account] > 0 ? uint256(principal[account]) * index / INDEX : 0;
    }

    // ---- What is done ----

    function supply(address asset, uint256 amount) external {
        IToken(asset).transferFrom(msg.sender, address(this), amount);
        if (asset == baseToken) {
            accrue();
            setBalance(msg.sender, balance(msg.sender) + int256(amount));
            return;
        }
        AssetInfo storage info = assets[indexOf(asset)];
        totalsCollateral[asset].totalSupplyAsset += uint128(amount);
        require(totalsCollateral[asset].totalSupplyAsset <= info.supplyCap, "cap");
        collateralOf[msg.sender][asset] += amount;
    }

    function withdraw(address asset, uint256 amount) external {
        accrue();
        if (asset == baseToken) {
            setBalance(msg.sender, balance(msg.sender) - int256(amount));
        } else {
            totalsCollateral[asset].totalSupplyAsset -= uint128(amount);
            collateralOf[msg.sender][asset] -= amount;
        }
        require(covered(msg.sender, false), "not collateralized");
        IToken(asset).transfer(msg.sender, amount);
    }

    function absorb(address absorber, address[] calldata accounts) external {
        accrue();
        for (uint256 i; i < accounts.length; i++) absorbOne(absorber, accounts[i]);
    }

    function buyCollateral(address asset, uint256 minAmount, uint256 baseAmount, address recipient) external {
        IToken(baseToken).transferFrom(msg.sender, address(this), baseAmount);
        IToken(asset).transfer(recipient, minAmount);
        emit BuyCollateral(msg.sender, asset, baseAmount, minAmount);
    }

    function absorbOne(address absorber, address account) private {
        require(!covered(account, true), "not liquidatable");
        uint256 worth;
        for (uint256 i; i < assets.length; i++) {
            AssetInfo storage info = assets[i];
            uint256 seized = collateralOf[account][info.asset];
            if (seized == 0) continue;
            collateralOf[account][info.asset] = 0;
            totalsCollateral[info.asset].totalSupplyAsset -= uint128(seized);
            uint256 value = seized * getPrice(info.priceFeed) / info.scale;
            worth += value * info.liquidationFactor / FACTOR;
            emit AbsorbCollateral(absorber, account, info.asset, seized, value);
        }
        uint256 price = getPrice(baseTokenPriceFeed);
        int256 before = balance(account);
        int256 afterwards = before + int256(worth * baseScale / price);
        emit Truth(account, uint256(-before), worth * baseScale / price);
        if (afterwards < 0) afterwards = 0;
        setBalance(account, afterwards);
        uint256 paid = uint256(afterwards - before);
        emit AbsorbDebt(absorber, account, paid, paid * price / baseScale);
    }

    // ---- Accounting ----

    function rate(uint256 at, uint256 kink, uint256 base, uint256 low, uint256 high) private pure returns (uint256) {
        if (at <= kink) return base + low * at / FACTOR;
        return base + low * kink / FACTOR + high * (at - kink) / FACTOR;
    }

    function indexes() private view returns (uint256 supplyIndex, uint256 borrowIndex) {
        uint256 elapsed = block.timestamp - basic.lastAccrualTime;
        uint256 utilization = getUtilization();
        supplyIndex = basic.baseSupplyIndex;
        borrowIndex = basic.baseBorrowIndex;
        supplyIndex += supplyIndex * (getSupplyRate(utilization) * elapsed) / FACTOR;
        borrowIndex += borrowIndex * (getBorrowRate(utilization) * elapsed) / FACTOR;
    }

    function accrue() private {
        (uint256 supplyIndex, uint256 borrowIndex) = indexes();
        basic.baseSupplyIndex = uint64(supplyIndex);
        basic.baseBorrowIndex = uint64(borrowIndex);
        basic.lastAccrualTime = uint40(block.timestamp);
    }

    function balance(address account) private view returns (int256) {
        int256 kept = principal[account];
        if (kept >= 0) return int256(uint256(kept) * basic.baseSupplyIndex / INDEX);
        return -int256(uint256(-kept) * basic.baseBorrowIndex / INDEX);
    }

    function setBalance(address account, int256 present) private {
        int256 old = principal[account];
        if (old > 0) basic.totalSupplyBase -= uint104(uint256(old));
        if (old < 0) basic.totalBorrowBase -= uint104(uint256(-old));
        int256 now_;
        if (present >= 0) {
            now_ = int256(uint256(present) * INDEX / basic.baseSupplyIndex);
            basic.totalSupplyBase += uint104(uint256(now_));
        } else {
            // A debt is rounded up.
            uint256 owed = (uint256(-present) * INDEX + basic.baseBorrowIndex - 1) / basic.baseBorrowIndex;
            now_ = -int256(owed);
            basic.totalBorrowBase += uint104(owed);
        }
        principal[account] = now_;
    }

    function covered(address account, bool atLiquidation) private view returns (bool) {
        int256 present = balance(account);
        if (present >= 0) return true;
        int256 left = present * int256(getPrice(baseTokenPriceFeed)) / int256(baseScale);
        for (uint256 i; i < assets.length; i++) {
            AssetInfo storage info = assets[i];
            uint256 value = collateralOf[account][info.asset] * getPrice(info.priceFeed) / info.scale;
            left += int256(value * (atLiquidation ? info.liquidateCollateralFactor : info.borrowCollateralFactor) / FACTOR);
        }
        return left >= 0;
    }

    function indexOf(address asset) private view returns (uint256) {
        for (uint256 i; i < assets.length; i++) if (assets[i].asset == asset) return i;
        revert("bad asset");
    }
}
