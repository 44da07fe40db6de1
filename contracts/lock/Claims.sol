// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IClaims} from "../interfaces/IClaims.sol";

/// @title Claims
/// @notice See {IClaims}.
/// @dev A contract of its own for the same reason as the alias registry: it may grow without end.
contract Claims is IClaims {
    /// @inheritdoc IClaims
    address public immutable LOCK = msg.sender;

    /// @inheritdoc IClaims
    mapping(bytes32 route => uint256) public fundedTotal;

    mapping(bytes32 route => mapping(bytes20 aliasId => Claim)) internal _claims;

    modifier onlyLock() {
        require(msg.sender == LOCK, NotTheLock(msg.sender, LOCK));
        _;
    }

    /// @inheritdoc IClaims
    function waiting(bytes32 route, bytes20 aliasId) external view returns (Claim memory) {
        return _claims[route][aliasId];
    }

    /// @inheritdoc IClaims
    function add(bytes32 route, bytes20 aliasId, uint128 funded, uint128 unfunded) external onlyLock {
        Claim storage claim = _claims[route][aliasId];
        claim.funded += funded;
        claim.unfunded += unfunded;
        fundedTotal[route] += funded;
    }

    /// @inheritdoc IClaims
    function take(bytes32 route, bytes20 aliasId, uint128 unfunded) external onlyLock returns (uint128 funded) {
        Claim storage claim = _claims[route][aliasId];
        funded = claim.funded;
        claim.funded = 0;
        claim.unfunded -= unfunded;
        fundedTotal[route] -= funded;
    }
}
