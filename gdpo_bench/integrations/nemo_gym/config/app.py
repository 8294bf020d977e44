"""Resources server with the rewards of gdpo-bench."""

from gdpo_bench.integrations.nemo_gym.server import GdpoBenchServer

if __name__ == "__main__":
    GdpoBenchServer.run_webserver()
