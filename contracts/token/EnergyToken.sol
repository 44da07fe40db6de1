// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

import {IEnergyToken} from "../interfaces/IEnergyToken.sol";

/// @title EnergyToken
/// @notice See {IEnergyToken}.
contract EnergyToken is IEnergyToken, ERC20Permit, AccessManaged {
    constructor(address manager) ERC20("Energy Token", "ET") ERC20Permit("Energy Token") AccessManaged(manager) {}

    /// @inheritdoc IEnergyToken
    function issue(address to, uint256 amount, bytes32 paymentReference) external restricted {
        _mint(to, amount);

        emit Issued(to, amount, paymentReference);
    }

    /// @inheritdoc IEnergyToken
    function redeem(uint256 amount, bytes32 paymentReference) external restricted {
        _burn(msg.sender, amount);

        emit Redeemed(msg.sender, amount, paymentReference);
    }

    /// @notice One token is 1,000 base units, as one right is 1,000 watt-hours.
    function decimals() public pure override returns (uint8) {
        return 3;
    }
}
