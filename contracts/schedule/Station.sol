// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {Service} from "../interfaces/IStationRegistry.sol";

/// @dev What changes of a station, in one word. Amounts in watt-hours: 40 bits are 1.1 TWh.
struct Station {
    uint40 capacity;
    uint40 stored;
    /// What users have agreed to send: the room for it is taken, and it is not there yet.
    uint32 coming;
    uint40 transfers;
    uint24 connectedSupply;
    uint24 connectedAcquire;
    uint24 epochSupply;
    uint24 epochAcquire;
    /// Bit 0 for supply, bit 1 for acquisition.
    uint8 flags;
}

/// @title StationLib
/// @notice The rules of one station, as pure functions (the paper's section 3).
library StationLib {
    /// @notice What the station can still give or take: stored energy for supply, free space for acquisition.
    function level(Station memory s, Service service) internal pure returns (uint256) {
        return service == Service.Supply ? s.stored : s.capacity - s.stored - s.coming;
    }

    /// @notice The users connected for a service.
    function connected(Station memory s, Service service) internal pure returns (uint256) {
        return service == Service.Supply ? s.connectedSupply : s.connectedAcquire;
    }

    /// @notice How often all of them were disconnected.
    function epoch(Station memory s, Service service) internal pure returns (uint24) {
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
        uint256 there = level(s, service);
        return there > reserve * (connected(s, service) + 1) && there >= unit;
    }

    /// @notice Whether it goes on serving those connected.
    function sustains(Station memory s, Service service, uint256 reserve) internal pure returns (bool) {
        return level(s, service) > reserve * connected(s, service);
    }

    /// @notice Gives one unit away, or takes room for one. It must fit the level.
    function draw(Station memory s, Service service, uint256 unit) internal pure {
        if (service == Service.Supply) {
            // at most the level, which is `stored`
            s.stored -= uint40(unit);
            ++s.transfers;
        } else {
            // a unit has 32 bits; the sum reverts only where 4 GWh are coming
            s.coming += uint32(unit);
        }
    }

    /// @notice Takes in `units` that were coming.
    function takeIn(Station memory s, uint256 units, uint256 unit) internal pure {
        forgo(s, units, unit);
        // what is coming fits beside what is stored
        s.stored += uint40(units * unit);
        // units of one connection have 16 bits
        s.transfers += uint40(units);
    }

    /// @notice Gives up `units` that were coming.
    function forgo(Station memory s, uint256 units, uint256 unit) internal pure {
        // part of `coming`
        s.coming -= uint32(units * unit);
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

    /// @notice Raises the flag for a service.
    function raise(Station memory s, Service service) internal pure {
        s.flags |= flag(service);
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
