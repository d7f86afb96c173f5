// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.0;

interface IToken {
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

interface IGearboxPool {
    function underlyingToken() external view returns (address);
    /// Version 1 of the pool, which is that of Gearbox 2.
    function calcLinearCumulative_RAY() external view returns (uint256);
    /// Version 3.
    function baseInterestIndex() external view returns (uint256);
    function lendCreditAccount(uint256 borrowedAmount, address creditAccount) external;
    function repayCreditAccount(uint256 borrowedAmount, uint256 profit, uint256 loss) external;
}

/// Stands before Gearbox's own pools: what finds them (providers, registers), what borrows from them (a manager) and what tells
/// of liquidations (a facade). Written for tests, with the functions and events of Gearbox's.
contract AddressProvider {
    mapping(bytes32 => address) private known;

    function set(bytes32 key, address value) external {
        known[key] = value;
    }

    function getAddressOrRevert(bytes32 key, uint256 version) external view returns (address value) {
        value = known[key];
        require(version == 0 && value != address(0), "not found");
    }
}

contract Factory {
    address[] private open;

    function add(address configurator) external {
        open.push(configurator);
    }

    function getMarketConfigurators() external view returns (address[] memory) {
        return open;
    }

    function getShutdownMarketConfigurators() external pure returns (address[] memory) {
        return new address[](0);
    }
}

contract Configurator {
    address public immutable contractsRegister;

    constructor(address register) {
        contractsRegister = register;
    }
}

contract Register {
    address[] private pools;
    address[] private closed;
    address[] private managers;
    mapping(address => address) public getPriceOracle;
    mapping(address => bool) public isPool;
    mapping(address => bool) public isCreditManager;

    function addPool(address pool, address oracle) external {
        pools.push(pool);
        isPool[pool] = true;
        getPriceOracle[pool] = oracle;
    }

    function addManager(address manager) external {
        managers.push(manager);
        isCreditManager[manager] = true;
    }

    function shutDown(uint256 index) external {
        closed.push(pools[index]);
        pools[index] = pools[pools.length - 1];
        pools.pop();
    }

    function getPools() external view returns (address[] memory) {
        return pools;
    }

    function getShutdownPools() external view returns (address[] memory) {
        return closed;
    }

    function getCreditManagers() external view returns (address[] memory) {
        return managers;
    }
}

/// Everyone may do everything.
contract Acl {
    function isConfigurator(address) external pure returns (bool) {
        return true;
    }

    function hasRole(bytes32, address) external pure returns (bool) {
        return true;
    }
}

contract Prices {
    mapping(address => uint256) public getPrice;

    function set(address token, uint256 price) external {
        getPrice[token] = price;
    }
}

contract Manager {
    struct Debt {
        uint256 principal;
        uint256 index;
    }

    address public immutable pool;
    address public immutable priceOracle;
    address public creditFacade;
    bool private immutable isV3;
    mapping(address => Debt) private debts;

    constructor(address pool_, address oracle, bool isV3_) {
        (pool, priceOracle, isV3) = (pool_, oracle, isV3_);
    }

    function poolService() external view returns (address) {
        return pool;
    }

    function setFacade(address facade) external {
        creditFacade = facade;
    }

    function open(address account, uint256 amount) external {
        debts[account] = Debt(amount, index());
        IGearboxPool(pool).lendCreditAccount(amount, account);
    }

    /// Principal and interest of an account.
    function owed(address account) public view returns (uint256) {
        Debt memory debt = debts[account];
        return debt.principal == 0 ? 0 : debt.principal * index() / debt.index;
    }

    /// Repays all with so much; what is left is profit, what is short a loss.
    function close(address payer, address account, uint256 paid) external {
        uint256 due = owed(account);
        uint256 principal = debts[account].principal;
        delete debts[account];
        pay(payer, paid);
        (uint256 profit, uint256 loss) = paid > due ? (paid - due, uint256(0)) : (0, due - paid);
        IGearboxPool(pool).repayCreditAccount(principal, profit, loss);
    }

    /// Repays a part of the principal with the interest on it.
    function decrease(address payer, address account, uint256 part) external returns (uint256 paid) {
        paid = part * index() / debts[account].index;
        debts[account].principal -= part;
        pay(payer, paid);
        IGearboxPool(pool).repayCreditAccount(part, 0, 0);
    }

    function pay(address payer, uint256 amount) private {
        IToken(IGearboxPool(pool).underlyingToken()).transferFrom(payer, pool, amount);
    }

    function index() private view returns (uint256) {
        return isV3 ? IGearboxPool(pool).baseInterestIndex() : IGearboxPool(pool).calcLinearCumulative_RAY();
    }
}

contract FacadeV2 {
    Manager public immutable creditManager;

    event LiquidateCreditAccount(
        address indexed borrower, address indexed liquidator, address indexed to, uint256 remainingFunds
    );
    event LiquidateExpiredCreditAccount(
        address indexed borrower, address indexed liquidator, address indexed to, uint256 remainingFunds
    );

    constructor(Manager manager) {
        creditManager = manager;
    }

    function liquidate(address borrower, uint256 paid, uint256 remaining, bool expired) external {
        creditManager.close(msg.sender, borrower, paid);
        if (expired) emit LiquidateExpiredCreditAccount(borrower, msg.sender, msg.sender, remaining);
        else emit LiquidateCreditAccount(borrower, msg.sender, msg.sender, remaining);
    }
}

contract FacadeV3 {
    Manager public immutable creditManager;

    event LiquidateCreditAccount(address indexed creditAccount, address indexed liquidator, address to, uint256 remainingFunds);
    event PartiallyLiquidateCreditAccount(
        address indexed creditAccount,
        address indexed token,
        address indexed liquidator,
        uint256 repaidDebt,
        uint256 seizedCollateral,
        uint256 fee
    );

    constructor(Manager manager) {
        creditManager = manager;
    }

    /// An ordinary repayment.
    function repay(address account, uint256 part) external {
        creditManager.decrease(msg.sender, account, part);
    }

    function liquidate(address account, uint256 paid, uint256 remaining) external {
        creditManager.close(msg.sender, account, paid);
        emit LiquidateCreditAccount(account, msg.sender, msg.sender, remaining);
    }

    function partiallyLiquidate(address account, address token, uint256 part, uint256 seized) external {
        uint256 paid = creditManager.decrease(msg.sender, account, part);
        emit PartiallyLiquidateCreditAccount(account, token, msg.sender, paid, seized, paid / 200);
    }
}
