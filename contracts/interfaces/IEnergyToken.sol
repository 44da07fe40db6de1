// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

/// @title IEnergyToken
/// @notice The money of the transaction chain: issued and redeemed by the energy company against money, 3 decimals.
interface IEnergyToken {
    /// @notice Emitted when the company issues tokens against money.
    /// @param paymentReference The company's reference of the payment.
    event Issued(address indexed to, uint256 amount, bytes32 indexed paymentReference);

    /// @notice Emitted when the company redeems tokens of its own for money.
    event Redeemed(address indexed from, uint256 amount, bytes32 indexed paymentReference);

    /// @notice Issues `amount` base units to `to`. Only the company.
    function issue(address to, uint256 amount, bytes32 paymentReference) external;

    /// @notice Burns `amount` base units of the caller's own. Only the company: whoever wants money for tokens sends
    /// them to the company first.
    function redeem(uint256 amount, bytes32 paymentReference) external;
}
