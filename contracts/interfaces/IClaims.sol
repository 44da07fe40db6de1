// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

/// @title IClaims
/// @notice The book of bounces that came home and could not be credited, each waiting for its alias. The lock alone
/// writes it and pays from it.
interface IClaims {
    /// @dev Amounts in lots of the route.
    struct Claim {
        /// What the route's pool has set aside.
        uint128 funded;
        /// What the pool was too short for: paid when it can. On an honest network this happens where others converted
        /// the last rights away while the bounce was on its road.
        uint128 unfunded;
    }

    /// @notice Thrown when `caller` writes, and only `lock` may.
    error NotTheLock(address caller, address lock);

    /// @notice The lock whose bounces are kept here.
    function LOCK() external view returns (address);

    /// @notice What waits for `aliasId` from `route`.
    function waiting(bytes32 route, bytes20 aliasId) external view returns (Claim memory);

    /// @notice All that the pool of `route` has set aside, in lots.
    function fundedTotal(bytes32 route) external view returns (uint256);

    /// @notice Adds to what waits for `aliasId`.
    function add(bytes32 route, bytes20 aliasId, uint128 funded, uint128 unfunded) external;

    /// @notice Takes everything funded and `unfunded` of the rest.
    /// @return funded What was set aside.
    function take(bytes32 route, bytes20 aliasId, uint128 unfunded) external returns (uint128 funded);
}
