// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title EnergyRights
/// @notice Claims on energy, on the scheduling chain. A base unit is one watt-hour, a right 1,000 of them. The supply
/// is fixed for ever: rights enter and leave circulation through the lock alone.
contract EnergyRights is ERC20Permit {
    /// @param supply All there will ever be, in watt-hours.
    /// @param holder Who gets it, to lock it and to hand out the genesis allotments.
    constructor(uint256 supply, address holder) ERC20("Energy Rights", "ER") ERC20Permit("Energy Rights") {
        _mint(holder, supply);
    }

    /// @notice A right is 1,000 watt-hours.
    function decimals() public pure override returns (uint8) {
        return 3;
    }
}
