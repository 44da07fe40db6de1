// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";

/// @title NetworkManager
/// @notice Who may change which rule of the network, and after what delay: OpenZeppelin's `AccessManager`, one a chain.
contract NetworkManager is AccessManager {
    constructor(address initialAdmin) AccessManager(initialAdmin) {}
}
