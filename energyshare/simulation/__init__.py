"""Networks of many users and stations, simulated: who is served by whom, and what is lost on the way."""
