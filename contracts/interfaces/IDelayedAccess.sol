// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

/// @title IDelayedAccess
/// @notice A contract whose rules change only in public: announced to its `AccessManager`, and carried out no sooner
/// than the delay of the caller's role.
interface IDelayedAccess {
    /// @notice Thrown when `caller` could call `selector` at once: a rule may change only after a non-zero delay,
    /// scheduled at the manager and then called directly, not through the manager's `execute`.
    error DelayRequired(address caller, bytes4 selector);

    /// @notice Thrown on an attempt to replace the manager.
    error AuthorityIsFixed(address authority);
}
