// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {ITransactionLock} from "../interfaces/ITransactionLock.sol";

/// @notice For tests: makes as many locks in one transaction as fit a block, of tokens sent here before.
contract LockMany {
    ITransactionLock internal immutable _LOCK;

    constructor(ITransactionLock lock) {
        _LOCK = lock;
        IERC20(lock.ASSET()).approve(address(lock), type(uint256).max);
    }

    /// @notice Locks `count` times, of 1, 2, 3 … `spread` and again 1, 2, 3 … base units.
    function lockMany(bytes32 route, uint256 count, uint256 spread, bytes20 recipient, bytes20 refund) external {
        for (uint256 i; i < count; ++i) {
            _LOCK.lock(route, 1 + i % spread, recipient, refund, 0);
        }
    }
}
