"""What runs inside an agent's sandbox and drives the real claude program.

Rule: standard library only, Python 3.9, and of the hive nothing but
`hyperhive.wire.agent_protocol`, so that a copy of three directories runs on
whatever Python the sandbox has.
"""
