// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.0;

/// What Venus's contracts want around them and npm's artefacts do not have in a simple form.

/// A proxy that stays with its code, for contracts that cannot be initialized themselves.
contract Proxy {
    address private immutable implementation;

    constructor(address implementation_) {
        implementation = implementation_;
    }

    fallback() external payable {
        address to = implementation;
        assembly {
            calldatacopy(0, 0, calldatasize())
            let ok := delegatecall(gas(), to, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            if iszero(ok) { revert(0, returndatasize()) }
            return(0, returndatasize())
        }
    }

    receive() external payable {}
}

/// An oracle of both of Venus's lines whose prices anyone moves: by token, or by market where it has no token.
contract VenusOracle {
    mapping(address => uint256) public prices;

    function setDirectPrice(address asset, uint256 price) external {
        prices[asset] = price;
    }

    function getUnderlyingPrice(address market) external view returns (uint256) {
        // A market of the chain's coin has none: of the zero address, or of no function, for which it takes the question for
        // a deposit, which fails with all the gas that it is given.
        (bool ok, bytes memory answer) = market.staticcall{gas: 30_000}(abi.encodeWithSignature("underlying()"));
        address token = ok && answer.length == 32 ? abi.decode(answer, (address)) : address(0);
        return prices[token == address(0) ? market : token];
    }

    function updatePrice(address) external {}

    function updateAssetPrice(address) external {}
}

/// Takes the protocol's share, and no notice of it.
contract ShareReserve {
    function updateAssetsState(address, address, uint8) external {}
}
