// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";

import {Permit} from "../interfaces/ITransactionLock.sol";

/// @title CallerPermit
/// @notice Uses a permit (EIP-2612) that the caller signed: nobody else's can be used.
library CallerPermit {
    /// @notice A permit for the contract called.
    function use(address token, Permit calldata permit) internal {
        useFor(token, address(this), permit);
    }

    /// @notice A permit for `spender`.
    /// @dev A failure is not one yet: anybody may have used the permit first, and then the allowance is there. If it
    /// is not, the transfer that follows reverts with the token's own error.
    function useFor(address token, address spender, Permit calldata permit) internal {
        try IERC20Permit(token)
            .permit(msg.sender, spender, permit.value, permit.deadline, permit.v, permit.r, permit.s) {}
            catch {}
    }
}
