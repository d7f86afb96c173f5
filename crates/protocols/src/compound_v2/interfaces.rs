//! The parts of the contracts that are read, each with its source.

use alloy_sol_types::sol;

sol! {
    /// compound-protocol contracts/Comptroller.sol and ComptrollerStorage.sol.
    interface IComptroller {
        function getAllMarkets() external view returns (address[]);
        function oracle() external view returns (address);
        function liquidationIncentiveMantissa() external view returns (uint256);
        /// Two to seven words, by version: decoded in `figures`.
        function markets(address cToken) external view returns (bool);
        function borrowCaps(address cToken) external view returns (uint256);
        function supplyCaps(address cToken) external view returns (uint256);
        function mintGuardianPaused(address cToken) external view returns (bool);
        function borrowGuardianPaused(address cToken) external view returns (bool);
        /// venus-protocol FacetBase.sol, isolated-pools Comptroller.sol; action 0 is MINT, 2 is BORROW.
        function actionPaused(address market, uint8 action) external view returns (bool);
        /// venus-protocol ComptrollerStorage.sol.
        function protocolPaused() external view returns (bool);
        function liquidatorContract() external view returns (address);
        function vaiController() external view returns (address);
        /// sumer-contracts ComptrollerStorage.sol; no market may borrow or take in more than its cap, 0 included.
        function marketConfig(address cToken) external view returns (
            bool mintPaused, bool borrowPaused, bool transferPaused, bool seizePaused, uint120 borrowCap, uint120 supplyCap
        );
    }

    /// compound-protocol contracts/CTokenInterfaces.sol. Who emits an event is the market of the debt.
    interface ICToken {
        /// `seizeTokens` are cTokens of the collateral taken from the borrower, the protocol's share among them.
        event LiquidateBorrow(
            address liquidator, address borrower, uint256 repayAmount, address cTokenCollateral, uint256 seizeTokens
        );
        event AccrueInterest(
            uint256 cashPrior, uint256 interestAccumulated, uint256 borrowIndex, uint256 totalBorrows
        );

        function underlying() external view returns (address);
        function symbol() external view returns (string);
        function decimals() external view returns (uint8);
        function getCash() external view returns (uint256);
        function totalBorrows() external view returns (uint256);
        function totalReserves() external view returns (uint256);
        function totalSupply() external view returns (uint256);
        function exchangeRateStored() external view returns (uint256);
        function reserveFactorMantissa() external view returns (uint256);
        function borrowIndex() external view returns (uint256);
        function accrualBlockNumber() external view returns (uint256);
        function borrowRatePerBlock() external view returns (uint256);
        function supplyRatePerBlock() external view returns (uint256);
        /// Benqi, Moonwell, Kinetic, Sumer, JoeLend.
        function accrualBlockTimestamp() external view returns (uint256);
        /// Benqi, Moonwell, Kinetic.
        function borrowRatePerTimestamp() external view returns (uint256);
        function supplyRatePerTimestamp() external view returns (uint256);
        /// JoeLend.
        function borrowRatePerSecond() external view returns (uint256);
        function supplyRatePerSecond() external view returns (uint256);
        /// isolated-pools VToken.sol.
        function badDebt() external view returns (uint256);
        /// Not in the cTokens of before 2021-07 (compound-protocol ae4388e).
        function protocolSeizeShareMantissa() external view returns (uint256);
        /// sumer-contracts: false for markets that mint what is borrowed (suErc20.sol).
        function isCToken() external view returns (bool);
        /// sumer-contracts CToken.sol: all tokens seized, and those of them that are the liquidator's profit.
        function liquidateCalculateSeizeTokens(address cTokenCollateral, uint256 actualRepayAmount)
            external view returns (uint256 seizeTokens, uint256 seizeProfitTokens);
    }

    /// cTokens of before compound-protocol v2.3; some are in use (cBAT).
    interface IOldCToken {
        event AccrueInterest(uint256 interestAccumulated, uint256 borrowIndex, uint256 totalBorrows);
    }

    /// isolated-pools contracts/VTokenInterfaces.sol.
    interface IIsolatedVToken {
        event LiquidateBorrow(
            address indexed liquidator,
            address indexed borrower,
            uint256 repayAmount,
            address indexed vTokenCollateral,
            uint256 seizeTokens
        );
        event HealBorrow(address indexed payer, address indexed borrower, uint256 repayAmount);
        event BadDebtIncreased(
            address indexed borrower, uint256 badDebtDelta, uint256 badDebtOld, uint256 badDebtNew
        );
    }

    /// venus-protocol contracts/Liquidator/Liquidator.sol.
    interface IVenusLiquidator {
        event LiquidateBorrowedTokens(
            address indexed liquidator,
            address indexed borrower,
            uint256 repayAmount,
            address vTokenBorrowed,
            address indexed vTokenCollateral,
            uint256 seizeTokensForTreasury,
            uint256 seizeTokensForLiquidator
        );
    }

    /// venus-protocol contracts/Tokens/VAI/VAIController.sol.
    interface IVaiController {
        event LiquidateVAI(
            address liquidator, address borrower, uint256 repayAmount, address vTokenCollateral, uint256 seizeTokens
        );

        function getVAIAddress() external view returns (address);
        /// Per year, 1e18.
        function getVAIRepayRate() external view returns (uint256);
    }

    /// venus-protocol contracts/PegStability/PegStability.sol.
    interface IPegStability {
        function vaiMinted() external view returns (uint256);
    }

    /// compound-protocol contracts/PriceOracle.sol.
    interface IPriceOracle {
        function getUnderlyingPrice(address cToken) external view returns (uint256);
    }
}
