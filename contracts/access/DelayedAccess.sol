// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {AuthorityUtils} from "@openzeppelin/contracts/access/manager/AuthorityUtils.sol";

import {IDelayedAccess} from "../interfaces/IDelayedAccess.sol";

/// @title DelayedAccess
/// @notice `AccessManaged` with a modifier for changes of a rule: even a role that was granted without a delay cannot
/// make them at once.
abstract contract DelayedAccess is AccessManaged, IDelayedAccess {
    constructor(address manager) AccessManaged(manager) {}

    /// @dev Only for a call that was scheduled with a non-zero delay. `execute` of the manager arrives here as an
    /// immediate call whatever the delay was, and so is refused too.
    modifier delayed() {
        _checkDelayed();
        _;
    }

    function _checkDelayed() internal {
        (bool immediate,) = AuthorityUtils.canCallWithDelay(authority(), msg.sender, address(this), msg.sig);
        require(!immediate, DelayRequired(msg.sender, msg.sig));

        _checkCanCall(msg.sender, msg.data);
    }

    /// @notice Always reverts: another manager could have no delays at all.
    function setAuthority(address) public view override {
        revert AuthorityIsFixed(authority());
    }
}
