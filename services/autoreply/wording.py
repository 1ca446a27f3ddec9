"""How followers write, brought nearer to how an operator writes: script, dialect, short forms and politeness. Pure.

The tables hold what is common in messages to any account, and nothing of one line of business: an operator's own words
belong into the phrasings of their questions.
"""

from __future__ import annotations

import re

from contracts.text import normalise, without_punctuation

_SIMPLIFIED = (
    "門门 開开 園园 關关 費费 錢钱 幾几 點点 鐘钟 時时 間间 進进 車车 場场 裡里 裏里 嗎吗 麼么 們们 個个 這这 "
    "買买 賣卖 價价 優优 張张 貴贵 號号 會会 員员 積积 換换 領领 獎奖 報报 動动 規规 則则 發发 貨货 運运 遞递 "
    "單单 訂订 訊讯 電电 話话 機机 網网 絡络 無无 線线 連连 嬰婴 兒儿 媽妈 長长 學学 證证 條条 據据 資资 預预 "
    "約约 團团 體体 節节 貼贴 帶带 寵宠 導导 輪轮 殘残 礙碍 儲储 櫃柜 飯饭 館馆 飲饮 遊游 樂乐 戲戏 煙烟 菸烟 "
    "邊边 離离 鐵铁 遠远 過过 還还 來来 東东 樣样 問问 題题 說说 請请 謝谢 讓让 誰谁 為为 爲为 從从 給给 對对 "
    "歡欢 觀观 現现 實实 驗验 碼码 賬账 帳账 戶户 綁绑 護护 壞坏 壽寿 慶庆 圖图 圓圆 國国 產产 業业 務务 質质 "
    "維维 處处 備备 復复 複复 雜杂 頭头 顏颜 項项 順顺 須须 頁页 風风 飛飞 馬马 魚鱼 鳥鸟 龍龙 麵面 黃黄 紅红 "
    "綠绿 藍蓝 銀银 鋪铺 錄录 鎖锁 鏡镜 閉闭 陽阳 陰阴 隊队 階阶 隨随 險险 難难 雙双 雲云 靜静 響响 顧顾 顯显 "
    "類类 餓饿 騎骑 鬆松 鬧闹 鮮鲜 齊齐 齡龄 傘伞 傳传 債债 傷伤 僅仅 億亿 儘尽 創创 劃划 劇剧 劑剂 勞劳 勢势 "
    "區区 協协 卻却 厭厌 參参 嘗尝 嚴严 圍围 執执 堅坚 塊块 墊垫 壓压 夠够 夾夹 奪夺 婦妇 孫孙 寫写 寬宽 寶宝 "
    "將将 尋寻 層层 屬属 島岛 帥帅 師师 幣币 幫帮 庫库 廁厕 廠厂 廣广 廳厅 彈弹 後后 徑径 徵征 恆恒 悶闷 愛爱 "
    "慣惯 態态 應应 懷怀 懶懒 戰战 擁拥 擇择 擔担 擠挤 擴扩 擺摆 攝摄 敗败 數数 斷断 於于 昇升 晝昼 暫暂 曆历 "
    "書书 極极 楊杨 構构 槍枪 標标 樓楼 樹树 橋桥 檔档 檢检 欄栏 權权 歲岁 歷历 歸归 殼壳 氣气 決决 沒没 況况 "
    "洩泄 淚泪 淨净 測测 湯汤 溫温 滅灭 滿满 漢汉 濕湿 灣湾 災灾 烏乌 煩烦 熱热 燈灯 燒烧 營营 爐炉 爭争 爾尔 "
    "牆墙 狀状 獨独 獲获 獵猎 環环 瑪玛 畢毕 畫画 異异 當当 療疗 瘋疯 盜盗 盡尽 監监 盤盘 確确 禮礼 種种 稱称 "
    "穩稳 窮穷 竈灶 筆笔 筍笋 範范 築筑 簡简 簽签 籤签 籌筹 紀纪 紙纸 級级 細细 終终 組组 結结 統统 絲丝 經经 "
    "綜综 緊紧 編编 緩缓 練练 縣县 縮缩 總总 織织 繼继 續续 罰罚 羅罗 義义 習习 聖圣 聞闻 聯联 聲声 職职 聽听 "
    "腦脑 腳脚 膠胶 臉脸 臺台 與与 興兴 舉举 舊旧 莊庄 華华 萬万 葉叶 著着 藝艺 藥药 蘇苏 蘋苹 蘭兰 蟲虫 衛卫 "
    "補补 裝装 製制 見见 視视 覺觉 親亲 計计 記记 討讨 訓训 許许 設设 評评 詞词 試试 該该 詳详 認认 語语 誤误 "
    "課课 調调 談谈 論论 諮咨 講讲 識识 譯译 讀读 變变 豐丰 負负 財财 貝贝 責责 購购 貸贷 賓宾 賞赏 賠赔 賽赛 "
    "贈赠 贏赢 趕赶 跡迹 踐践 躍跃 軍军 軟软 較较 載载 輕轻 輛辆 輸输 轉转 辦办 農农 達达 違违 適适 遲迟 選选 "
    "遺遗 鄉乡 鄰邻 醫医 釋释 針针 釣钓 鈴铃 鉛铅 錯错 鍋锅 鍵键 鏈链 鑰钥 閃闪 閒闲 閱阅 闊阔 闖闯 陳陈 陸陆 "
    "際际 隱隐 雞鸡 霧雾 韓韩 頓顿 頻频 願愿 餅饼 駕驾 驚惊 髮发 鬥斗 鹽盐 邨村 佈布 併并 週周 衹只 祇只 甚什 "
    "咗了 嘅的 妳你 您你 哋们 係是 唔不 冇没 喺在 嚟来 啲些"
)
"""Each traditional (or dialect) character with the one that stands for it."""
_SCRIPT = str.maketrans({pair[0]: pair[1] for pair in _SIMPLIFIED.split()})

_SAME: dict[str, str] = {
    # dialect and colloquial
    "几多": "多少",
    "多钱": "多少钱",
    "几钱": "多少钱",
    "几块": "多少钱",
    "边度": "哪里",
    "边个": "谁",
    "点样": "怎么",
    "咋样": "怎么样",
    "咋": "怎么",
    "啥": "什么",
    "没得": "没有",
    "有没": "有没有",
    "能不能": "可以",
    "可不可以": "可以",
    "能": "可以",
    "如何": "怎么",
    "哪儿": "哪里",
    "哪边": "哪里",
    "那里": "哪里",  # the commonest slip of all
    "啥时候": "什么时候",
    "几时": "什么时候",
    "耍": "玩",
    "娃儿": "孩子",
    "娃娃": "孩子",
    "小朋友": "孩子",
    "小孩": "孩子",
    "儿童": "孩子",
    "宝宝": "孩子",
    "娃": "孩子",
    "老人家": "老人",
    "长者": "老人",
    "身高": "高",
    # mixed scripts
    "parking": "停车",
    "ticket": "票",
    "tickets": "票",
    "price": "多少钱",
    "vip": "会员",
}
_REPLACED = re.compile("|".join(sorted(map(re.escape, _SAME), key=len, reverse=True)))

_POLITE = re.compile(
    "你好|您好|请问|想问一下|想问下|问一下|问下|咨询一下|咨询下|咨询|请教|告诉我|麻烦|谢谢|多谢|哈喽|在吗|你们|我们|你|我|想|亲|"
    "[吗呢啊呀吧哦噢喔嘛哒呐嗯唉诶喂]|[哈的了地得]$|(?<![什怎这那多])么$"
)


def bare(text: str) -> str:
    """A text as it is compared: one script, common words for dialect, without politeness, punctuation and spaces.

    A text that is nothing but politeness stays as it is: an operator may want to answer a greeting, too.
    """
    whole = without_punctuation(normalise(text)).translate(_SCRIPT)
    plain = _POLITE.sub("", whole) or whole
    return _REPLACED.sub(lambda found: _SAME[found.group()], plain)
