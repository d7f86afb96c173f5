// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.0;

interface IToken {
    function balanceOf(address account) external view returns (uint256);
    function decimals() external view returns (uint8);
    function transfer(address to, uint256 value) external returns (bool);
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

/// A vault with the functions of Cap's cUSD that are read, written for tests as all in this file.
contract CapVault {
    address[] private listed;
    mapping(address => uint256) public totalSupplies;
    mapping(address => uint256) public totalBorrows;
    mapping(address => uint256) public loaned;
    mapping(address => bool) private assetPaused;
    mapping(address => uint256) private caps;
    bool public paused;
    /// Whether the code is that of November 2025, which has deposit caps.
    bool private hasCaps;

    function assets() external view returns (address[] memory) {
        return listed;
    }

    function paused_(address asset) private view returns (bool) {
        return assetPaused[asset];
    }

    /// `paused(address)`, beside the public variable of the same name.
    fallback(bytes calldata input) external returns (bytes memory) {
        require(bytes4(input) == bytes4(keccak256("paused(address)")), "no such function");
        return abi.encode(paused_(abi.decode(input[4:], (address))));
    }

    function availableBalance(address asset) external view returns (uint256) {
        return totalSupplies[asset] - totalBorrows[asset];
    }

    function depositCap(address asset) external view returns (uint256) {
        require(hasCaps, "no such function");
        return caps[asset];
    }

    function add(address asset) external {
        listed.push(asset);
    }

    function remove(uint256 index) external {
        listed[index] = listed[listed.length - 1];
        listed.pop();
    }

    function setPaused(address asset, bool on) external {
        if (asset == address(0)) paused = on;
        else assetPaused[asset] = on;
    }

    function upgrade(address asset, uint256 cap) external {
        hasCaps = true;
        caps[asset] = cap;
    }

    function mint(address asset, uint256 amount) external {
        IToken(asset).transferFrom(msg.sender, address(this), amount);
        totalSupplies[asset] += amount;
    }

    function burn(address asset, uint256 amount) external {
        totalSupplies[asset] -= amount;
        IToken(asset).transfer(msg.sender, amount);
    }

    function invest(address asset, uint256 amount, address to) external {
        loaned[asset] += amount;
        IToken(asset).transfer(to, amount);
    }

    function borrow(address asset, uint256 amount, address to) external {
        totalBorrows[asset] += amount;
        IToken(asset).transfer(to, amount);
    }

    function repay(address asset, uint256 amount, address from) external {
        totalBorrows[asset] -= amount;
        IToken(asset).transferFrom(from, address(this), amount);
    }
}

/// Debt of all agents in one asset, with interest by view.
contract DebtToken {
    uint256 private principal;
    uint256 private updated;
    /// 1e27 a second.
    uint256 private immutable rate;

    constructor(uint256 rate_) {
        rate = rate_;
        updated = block.timestamp;
    }

    function totalSupply() public view returns (uint256) {
        return principal + principal * rate * (block.timestamp - updated) / 1e27;
    }

    function change(int256 by) external {
        principal = uint256(int256(totalSupply()) + by);
        updated = block.timestamp;
    }
}

contract Oracle {
    struct Answer {
        uint256 price;
        uint256 at;
    }

    mapping(address => Answer) private answers;

    function set(address asset, uint256 price) external {
        answers[asset] = Answer(price, block.timestamp);
    }

    function getPrice(address asset) external view returns (uint256 price, uint256 lastUpdated) {
        require(answers[asset].price > 0, "no price");
        return (answers[asset].price, answers[asset].at);
    }
}

contract SymbioticVault {
    address public immutable collateral;

    constructor(address collateral_) {
        collateral = collateral_;
    }
}

/// A Symbiotic network: which vault answers for an agent.
contract Network {
    mapping(address => address) public vaults;

    function register(address agent, address vault) external {
        vaults[agent] = vault;
    }
}

contract Delegation {
    address[] private listed;
    mapping(address => address) public networks;
    mapping(address => uint256) public ltv;
    mapping(address => uint256) public liquidationThreshold;
    /// Staked for an agent.
    mapping(address => uint256) public staked;
    Oracle private immutable oracle;
    /// Whether the code is that of February 2026, which knows an agent's collateral.
    bool private knowsCollateral;

    constructor(Oracle oracle_) {
        oracle = oracle_;
    }

    function agents() external view returns (address[] memory) {
        return listed;
    }

    function collateral(address agent) external view returns (address) {
        require(knowsCollateral, "no such function");
        return token(agent);
    }

    function coverage(address agent) external view returns (uint256) {
        IToken of_ = IToken(token(agent));
        (uint256 price,) = oracle.getPrice(address(of_));
        return staked[agent] * price / 10 ** of_.decimals();
    }

    function add(address agent, address network, uint256 ltv_, uint256 threshold) external {
        listed.push(agent);
        networks[agent] = network;
        ltv[agent] = ltv_;
        liquidationThreshold[agent] = threshold;
    }

    function stake(address agent, uint256 amount) external {
        staked[agent] = amount;
    }

    function upgrade() external {
        knowsCollateral = true;
    }

    function token(address agent) private view returns (address) {
        return SymbioticVault(Network(networks[agent]).vaults(agent)).collateral();
    }
}

contract Lender {
    struct Reserve {
        uint256 id;
        address vault;
        address debtToken;
        address interestReceiver;
        uint8 decimals;
        bool paused;
        uint256 minBorrow;
    }

    mapping(address => Reserve) public reservesData;
    mapping(address => uint256) public liquidationStart;
    uint256 public constant bonusCap = 0.1e27;
    Delegation private immutable delegation;
    Oracle private immutable oracle;
    mapping(address => mapping(address => uint256)) private principal;
    mapping(address => mapping(address => uint256)) private touched;
    uint256 private count;

    event Liquidate(address indexed agent, address indexed liquidator, address asset, uint256 amount, uint256 value);
    event OpenLiquidation(address agent);
    event CloseLiquidation(address agent);

    constructor(Delegation delegation_, Oracle oracle_) {
        (delegation, oracle) = (delegation_, oracle_);
    }

    function addAsset(address asset, address vault, address debtToken) external {
        reservesData[asset] = Reserve(count++, vault, debtToken, msg.sender, IToken(asset).decimals(), false, 1);
    }

    /// 1 % a year of what the agent borrowed, since it was last added to the debt.
    function accruedRestakerInterest(address agent, address asset) public view returns (uint256) {
        return principal[agent][asset] * (block.timestamp - touched[agent][asset]) / (100 * 365 days);
    }

    function borrow(address asset, uint256 amount) external {
        realize(msg.sender, asset);
        principal[msg.sender][asset] += amount;
        DebtToken(reservesData[asset].debtToken).change(int256(amount));
        CapVault(payable(reservesData[asset].vault)).borrow(asset, amount, msg.sender);
    }

    function openLiquidation(address agent) external {
        liquidationStart[agent] = block.timestamp;
        emit OpenLiquidation(agent);
    }

    function closeLiquidation(address agent) external {
        liquidationStart[agent] = 0;
        emit CloseLiquidation(agent);
    }

    /// Repays so much, for restaked collateral worth 5 % more.
    function liquidate(address agent, address asset, uint256 amount) external {
        realize(agent, asset);
        principal[agent][asset] -= amount;
        DebtToken(reservesData[asset].debtToken).change(-int256(amount));
        CapVault(payable(reservesData[asset].vault)).repay(asset, amount, msg.sender);
        (uint256 price,) = oracle.getPrice(asset);
        uint256 value = amount * price * 105 / 100 / 10 ** reservesData[asset].decimals;
        uint256 covered = delegation.coverage(agent);
        delegation.stake(agent, delegation.staked(agent) * (covered - value) / covered);
        emit Liquidate(agent, msg.sender, asset, amount, value);
    }

    function realize(address agent, address asset) private {
        uint256 interest = accruedRestakerInterest(agent, asset);
        DebtToken(reservesData[asset].debtToken).change(int256(interest));
        touched[agent][asset] = block.timestamp;
    }
}
