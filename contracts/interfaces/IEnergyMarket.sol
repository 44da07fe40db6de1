// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

import {ITransactionLock, Permit} from "./ITransactionLock.sol";

/// @title IEnergyMarket
/// @notice Where users buy rights from the company (the paper's PurchaseRights): the tokens paid are locked at once,
/// and the other chain releases the rights as sold by the company.
interface IEnergyMarket {
    /// @notice Emitted when `buyer` pays `amount` to `company` for rights on the chain of `route`.
    event Purchased(
        address indexed buyer, address indexed company, bytes32 indexed route, uint256 position, uint256 amount
    );

    /// @notice The lock that takes the tokens.
    function LOCK() external view returns (ITransactionLock);

    /// @notice Buys rights for `amount` base units of the token, at the route's ratio.
    /// @param recipient The buyer's alias on the scheduling chain.
    /// @param refund The buyer's alias here, credited if the rights cannot be released.
    /// @param deadline As in {ITransactionLock.lock}.
    /// @return position The transfer's place in the route's outbox.
    function buy(bytes32 route, uint256 amount, bytes20 recipient, bytes20 refund, uint40 deadline)
        external
        returns (uint256 position);

    /// @notice {buy}, with the buyer's permit for this contract. A permit already used is ignored: what counts is the
    /// allowance.
    function buyWithPermit(
        bytes32 route,
        uint256 amount,
        bytes20 recipient,
        bytes20 refund,
        uint40 deadline,
        Permit calldata permit
    ) external returns (uint256 position);
}
