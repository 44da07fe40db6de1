// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title LockBox
/// @notice One of the addresses that hold what is locked (the paper's transaction lock addresses). Its constructor
/// lets the lock that made it draw from it; it has no other code path.
contract LockBox {
    constructor(IERC20 asset) {
        SafeERC20.forceApprove(asset, msg.sender, type(uint256).max);
    }
}
