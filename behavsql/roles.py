"""What an event can be to us, and the words that sources have for it."""

ROLES = ("view", "click", "cart", "purchase", "return", "action", "other")
# Words people use for their event types. What is on nobody's list becomes `action`, and the build
# says so. `other` is what happens to a user (a mail, an impression) or says nothing (leaving).
DEFAULT_TYPES = {
    "view": """view pageview page_view screen_view detail item_view product_view view_item visit
        search view_search_results view_item_list browse read watch homepage resource subpage url
        oucontent page folder""",
    "click": "click tap select select_item outbound_click link_click ad_click",
    "cart": """cart add_to_cart addtocart add_cart basket add_to_basket begin_checkout checkout
        add_payment_info add_shipping_info""",
    "purchase": "purchase buy bought order transaction sale paid payment invoice",
    "return": "return refund cancel cancellation cancelled chargeback",
    "other": """other leave exit logout campaign mail email sms push notification impression
        exposure remove_from_cart session_end dropout drop_out unregister unregistration unenrol
        unenroll""",
}
