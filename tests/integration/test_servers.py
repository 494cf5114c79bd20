"""The test servers behave as other tests expect."""

from rig.servers import RedisServer


def test_redis_keeps_its_data_after_a_stop_and_a_kill(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("kept", "yes")
    redis_server.stop()
    redis_server.start()
    redis_server.kill()
    redis_server.start()
    with redis_server.client() as client:
        assert client.get("kept") == b"yes"
