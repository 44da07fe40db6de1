// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title HostileToken
/// @notice An asset that, armed, calls back before each transfer between accounts.
contract HostileToken is ERC20("Hostile", "H") {
    address internal target;
    bytes internal call;

    /// @notice What came of the last call back.
    bool public succeeded;
    bytes public output;

    constructor(address holder) {
        _mint(holder, 1_000_000_000);
    }

    function arm(address newTarget, bytes calldata newCall) external {
        target = newTarget;
        call = newCall;
    }

    function permit(address, address, uint256, uint256, uint8, bytes32, bytes32) external {
        _strike();
    }

    function _update(address from, address to, uint256 value) internal override {
        if (from != address(0)) _strike();
        super._update(from, to, value);
    }

    function _strike() internal {
        if (target != address(0)) (succeeded, output) = target.call(call);
    }
}
