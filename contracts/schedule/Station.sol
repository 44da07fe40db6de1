// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {Service} from "../interfaces/IStationRegistry.sol";

/// @dev What changes of a station, in one word. Amounts in watt-hours: 48 bits are 281 TWh.
struct Station {
    uint48 capacity;
    uint48 stored;
    uint40 transfers;
    uint24 connectedSupply;
    uint24 connectedAcquire;
    uint32 epochSupply;
    uint32 epochAcquire;
    /// Bit 0 for supply, bit 1 for acquisition.
    uint8 flags;
}

/// @title StationLib
/// @notice The rules of one station, as pure functions (the paper's section 3).
library StationLib {
    /// @notice What the station can still give or take: stored energy for supply, free space for acquisition.
    function level(Station memory s, Service service) internal pure returns (uint256) {
        return service == Service.Supply ? s.stored : s.capacity - s.stored;
    }

    /// @notice The users connected for a service.
    function connected(Station memory s, Service service) internal pure returns (uint256) {
        return service == Service.Supply ? s.connectedSupply : s.connectedAcquire;
    }

    /// @notice How often all of them were disconnected.
    function epoch(Station memory s, Service service) internal pure returns (uint32) {
        return service == Service.Supply ? s.epochSupply : s.epochAcquire;
    }

    /// @notice The flag for a service.
    function available(Station memory s, Service service) internal pure returns (bool) {
        return s.flags & flag(service) != 0;
    }

    /// @notice The bit of `flags` for a service.
    function flag(Service service) internal pure returns (uint8) {
        return service == Service.Supply ? 1 : 2;
    }

    /// @notice Whether it takes one more user: there is the reserve of all with the newcomer, and a whole unit.
    function admits(Station memory s, Service service, uint256 reserve, uint256 unit) internal pure returns (bool) {
        uint256 now_ = level(s, service);
        return now_ > reserve * (connected(s, service) + 1) && now_ >= unit;
    }

    /// @notice Whether it goes on serving those connected.
    function sustains(Station memory s, Service service, uint256 reserve) internal pure returns (bool) {
        return level(s, service) > reserve * connected(s, service);
    }

    /// @notice Moves one unit, which must fit the level.
    function move(Station memory s, Service service, uint256 unit) internal pure {
        // unit <= level, which fits 48 bits
        if (service == Service.Supply) s.stored -= uint48(unit);
        else s.stored += uint48(unit);
        ++s.transfers;
    }

    /// @notice Takes back `units` that were to come. A report meanwhile may have said that less is stored.
    function unmove(Station memory s, uint256 units, uint256 unit) internal pure {
        uint256 amount = units * unit;
        // less than s.stored
        s.stored = amount < s.stored ? s.stored - uint48(amount) : 0;
        // units are at most those of one connection, 16 bits
        s.transfers += uint40(units);
    }

    /// @notice Counts one more user.
    function connect(Station memory s, Service service) internal pure {
        if (service == Service.Supply) ++s.connectedSupply;
        else ++s.connectedAcquire;
    }

    /// @notice Counts one user less.
    function disconnect(Station memory s, Service service) internal pure {
        if (service == Service.Supply) --s.connectedSupply;
        else --s.connectedAcquire;
    }

    /// @notice Clears the flag for a service.
    function clear(Station memory s, Service service) internal pure {
        s.flags &= ~flag(service);
    }

    /// @notice Disconnects all users and begins the next epoch.
    function disconnectAll(Station memory s, Service service) internal pure {
        if (service == Service.Supply) {
            s.connectedSupply = 0;
            ++s.epochSupply;
        } else {
            s.connectedAcquire = 0;
            ++s.epochAcquire;
        }
    }
}
