"""The fields of each event the platform reports, with believable values where a request leaves them open."""

import secrets
from collections.abc import Callable
from typing import Any

from sandbox.accounts import Account
from sandbox.followers import Follower

# Events that the platform itself starts: the follower's phone knows nothing of them.
SERVER_EVENTS = frozenset(
    {
        "TEMPLATESENDJOBFINISH",
        "MASSSENDJOBFINISH",
        "PUBLISHJOBFINISH",
        "kf_create_session",
        "kf_close_session",
        "kf_switch_session",
        "subscribe_msg_sent_event",
        "user_info_modified",
        "user_authorization_revoke",
        "user_authorization_cancellation",
    }
)

Maker = Callable[[str, Account, Follower], dict[str, Any]]


def event_fields(name: str, key: str, account: Account, follower: Follower) -> dict[str, Any]:
    """What an event carries besides the common head. An event unknown here carries only its EventKey, if given."""
    maker = _EVENTS.get(name)
    if maker is None:
        return {"EventKey": key} if key else {}
    return maker(key, account, follower)


def _job_id() -> int:
    return 3_000_000_000_000_000_000 + secrets.randbelow(10**15)


def _ticket() -> str:
    return f"gQ{secrets.token_urlsafe(60)}"


def _subscribe(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    return {"EventKey": key, "Ticket": _ticket()} if key else {"EventKey": ""}


def _scan(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    return {"EventKey": key, "Ticket": _ticket()}


def _key_only(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    return {"EventKey": key}


def _menu_link(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    return {"EventKey": key, "MenuId": 430_000_000}


def _location(_key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    return {"Latitude": 22.540503, "Longitude": 113.934528, "Precision": 65.0}


def _scancode(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    return {"EventKey": key, "ScanCodeInfo": {"ScanType": "qrcode", "ScanResult": "https://example.com/p/1"}}


def _pictures(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    pictures = {"item": [{"PicMd5Sum": secrets.token_hex(16)}]}
    return {"EventKey": key, "SendPicsInfo": {"Count": 1, "PicList": pictures}}


def _location_select(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    place = {"Location_X": 22.540503, "Location_Y": 113.934528, "Scale": 15, "Label": "深圳市南山区", "Poiname": ""}
    return {"EventKey": key, "SendLocationInfo": place}


def _template_finished(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    return {"MsgID": _job_id(), "Status": key or "success"}


def _mass_finished(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    counts = {"TotalCount": 100, "FilterCount": 80, "SentCount": 75, "ErrorCount": 5}
    return {"MsgID": _job_id(), "Status": key or "send success", **counts}


def _desk(key: str, account: Account, _follower: Follower) -> dict[str, Any]:
    return {"KfAccount": key or f"kf2001@{account.config.original_id}"}


def _desk_switch(key: str, account: Account, _follower: Follower) -> dict[str, Any]:
    owner = account.config.original_id
    return {"FromKfAccount": f"kf2001@{owner}", "ToKfAccount": key or f"kf2002@{owner}"}


def _notice(wrapper: str, status: str) -> Maker:
    def make(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
        item = {"TemplateId": "VRR0UEO9VJOLs0MHlU0OilqX6MVFDwH3_3gz3Oc0NIc", "SubscribeStatusString": key or status}
        if wrapper == "SubscribeMsgSentEvent":
            item = {
                "TemplateId": item["TemplateId"],
                "MsgID": str(_job_id()),
                "ErrorCode": "0",
                "ErrorStatus": "success",
            }
        elif wrapper == "SubscribeMsgPopupEvent":
            item["PopupScene"] = "2"
        return {wrapper: {"List": [item]}}

    return make


def _authorization(key: str, account: Account, follower: Follower) -> dict[str, Any]:
    # The person is in OpenID; the sender is the platform's own messenger.
    return {
        "FromUserName": "mphelper",
        "OpenID": follower.openid,
        "AppID": account.config.appid,
        "RevokeInfo": key or "1",
    }


def _publish_finished(key: str, _account: Account, _follower: Follower) -> dict[str, Any]:
    article = {"idx": 1, "article_url": "https://mp.weixin.qq.com/s/example"}
    info = {
        "publish_id": _job_id(),
        "publish_status": int(key) if key.isdigit() else 0,
        "article_id": secrets.token_urlsafe(12),
        "article_detail": {"count": 1, "item": [article]},
    }
    return {"PublishEventInfo": info}


_EVENTS: dict[str, Maker] = {
    "subscribe": _subscribe,
    "unsubscribe": _key_only,
    "SCAN": _scan,
    "LOCATION": _location,
    "CLICK": _key_only,
    "VIEW": _menu_link,
    "view_miniprogram": _menu_link,
    "scancode_push": _scancode,
    "scancode_waitmsg": _scancode,
    "pic_sysphoto": _pictures,
    "pic_photo_or_album": _pictures,
    "pic_weixin": _pictures,
    "location_select": _location_select,
    "TEMPLATESENDJOBFINISH": _template_finished,
    "MASSSENDJOBFINISH": _mass_finished,
    "PUBLISHJOBFINISH": _publish_finished,
    "kf_create_session": _desk,
    "kf_close_session": _desk,
    "kf_switch_session": _desk_switch,
    "subscribe_msg_popup_event": _notice("SubscribeMsgPopupEvent", "accept"),
    "subscribe_msg_change_event": _notice("SubscribeMsgChangeEvent", "reject"),
    "subscribe_msg_sent_event": _notice("SubscribeMsgSentEvent", ""),
    "user_info_modified": _authorization,
    "user_authorization_revoke": _authorization,
    "user_authorization_cancellation": _authorization,
}
